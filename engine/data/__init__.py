"""Pairs of images: sources, scans for faults, packing, batches.

Modules:
    pairs: one pair of images: a loaded pair, its packed record, its split.
    packing: one memory-mapped array per source and size.
    batches: batches on the device, with augmentation of both halves of a pair.

Packages:
    sources: the kinds of sources and the SOURCE texts that name them.
    survey: a scan of a source: faults, duplicates, statistics.

Not here: decoding of one file (`images`). Only `batches` and `sources.download` import torch.
"""
