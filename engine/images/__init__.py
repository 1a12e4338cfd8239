"""One image at a time: decoding, colour spaces, sample grids.

Modules:
    decoding: decodes an image file to upright 8-bit sRGB.
    pillow: Pillow's limits and warnings while decoding.
    modes: converts Pillow modes to 8-bit RGB.
    jpeg: detects truncated JPEG files.
    faults: the kinds of faults that an image file can have.
    color: CIE Lab, colourfulness, gamut mapping; for NumPy arrays and torch tensors.
    grids: sample grids as WebP files.

Not here: pairs of images and data sets (`data`).
"""
