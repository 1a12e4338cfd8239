"""Defines the sources of image pairs; a SOURCE text names a source.

Modules:
    interface: the interface of a source.
    registry: parses a SOURCE text.
    listing: lists the image files of a folder.
    exclusions: loads and changes the list of a source's excluded files.
    folders: photographs; two parallel folders with sketches and colour pictures.
    sidebyside: source and target side by side in one image.
    openmoji: the embedded OpenMoji drawings.
    published: the catalog of published data sets.
    download: downloads published data sets.

Not here: decoding (`images.decoding`) and fault checks (`data.survey`).
"""
