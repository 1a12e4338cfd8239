"""Neural networks.

Modules:
    architectures: U-Net, ResNet-18 U-Net and PatchGAN.
    layers: convolution and normalisation layers, with fast CPU paths for small feature maps.
    backbones: pretrained feature networks (VGG19, EfficientNet-Lite, Inception).

Not here: losses and training steps (`training`).
"""
