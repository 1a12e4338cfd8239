"""Neural networks.

Modules:
    architectures: U-Net, ResNet-18 U-Net and PatchGAN.
    layers: convolutions and skip connection of the U-Net, fast for small maps on a CPU.
    backbones: pretrained networks (VGG19, EfficientNet-Lite, ResNet-18, Inception).
    region_labels: labels the regions of line art inside a generator, also when it is exported.
    efficientnet_lite: the layers of EfficientNet-Lite0 and -Lite2.
    source_features: reads a source with a pretrained network.
    drawing_geometry: measures lines and regions of a drawing.

Not here: losses and training steps (`training`).
"""
