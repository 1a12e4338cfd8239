"""Decodes single images, converts colour spaces, labels regions and writes sample grids.

Modules:
    decoding: decodes an image file to upright 8-bit sRGB.
    pillow: filters Pillow's warnings, converts images to RGB, finds truncated JPEG files.
    faults: the kinds of faults that an image file can have.
    color: converts between sRGB, linear light and CIE Lab, and measures colourfulness.
    regions: labels the regions of line art.
    grids: writes sample grids as PNG files.
    region_fill: enlarges a flat fill without bleeding across lines.

Not here: pairs of images and data sets (`data`).
"""
