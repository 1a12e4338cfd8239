"""Neural networks.

Modules:
    architectures: U-Net, ResNet-18 U-Net and PatchGAN.
    layers: convolutions and skip connection of the U-Net, fast for small maps on a CPU.
    backbones: pretrained networks (VGG19, EfficientNet-Lite, ResNet-18, Inception).
    efficientnet_lite: the layers of EfficientNet-Lite0 and -Lite2.

Not here: losses and training steps (`training`).
"""
