"""Sources of image pairs, as named by a SOURCE text.

Modules:
    registry: parses a SOURCE text; the interface of a source.
    listing: lists image files of a folder.
    folders: photographs, and two parallel folders.
    sidebyside: source and target side by side in one image.
    openmoji: the embedded OpenMoji drawings.
    published: the catalog of published data sets.
    download: downloads published data sets.

Not here: decoding (`images.decoding`) and fault checks (`data.survey`).
"""
