"""Loads, scans, packs and batches pairs of images.

Modules:
    pairs: a loaded pair of images, the record of a packed pair, and the split of a pair.
    packing: packs each source and size into one memory-mapped array.
    region_labels: stores the labels of the regions of packed line art.
    batches: batches of pairs on the device, with the same augmentation for both halves.

Packages:
    sources: the kinds of sources and the SOURCE texts that name them.
    survey: scans a source for faults, duplicates and statistics.

Not here: decoding of one file (`images`). Only `batches` and `sources.download` import torch.
"""
