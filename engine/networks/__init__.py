"""Neural networks.

Modules:
    architectures: U-Net, ResNet-18 U-Net and PatchGAN.
    layers: the U-Net's convolutions and skip connection, fast on a CPU for small maps.
    backbones: pretrained networks (VGG19, EfficientNet-Lite, ResNet-18, Inception).

Not here: losses and training steps (`training`).
"""
