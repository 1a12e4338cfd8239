"""One image at a time: decoding, colour spaces, sample grids.

Modules:
    decoding: decodes an image file to upright 8-bit sRGB.
    pillow: adapts Pillow: warnings, conversion to RGB, truncated JPEG files.
    faults: the kinds of faults that an image file can have.
    color: sRGB, linear light, CIE Lab, colourfulness; for NumPy arrays and torch tensors.
    grids: sample grids as PNG files.

Not here: pairs of images and data sets (`data`).
"""
