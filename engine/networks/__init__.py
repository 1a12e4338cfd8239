"""Neural networks.

Modules:
    outputs: builds generators: a U-Net with an output, which makes the picture.
    architectures: U-Net, ResNet-18 U-Net and PatchGAN.
    layers: convolutions and skip connection of the U-Net, fast for small maps on a CPU.
    ink: separates line art into ink and fill.
    palette_generator: a generator of distributions over palette colours.
    palette: finds the palette of a training split.
    decoding: reads colours from distributions.
    regions: pools features over regions and estimates a distribution for each region.
    region_labels: labels the regions of line art inside a generator, also when it is exported.
    source_conditioning: brings the pretrained features of a source into a U-Net.
    source_features: reads a source with a pretrained network.
    drawing_geometry: measures lines and regions of a drawing.
    backbones: pretrained networks (VGG19, EfficientNet-Lite, ResNet-18, Inception).
    efficientnet_lite: the layers of EfficientNet-Lite0 and -Lite2.

Not here: losses and training steps (`training`).
"""
