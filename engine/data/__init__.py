"""Pairs of images: sources, scans for faults, packing, batches.

Modules:
    pairs: one pair of images that was read.
    splits: the split that a pair belongs to.
    packing: one memory-mapped array per source and size.
    batches: batches on the device, with augmentation of both halves of a pair.

Packages:
    sources: what a SOURCE text names.
    survey: a scan of a source: faults, duplicates, statistics.

Not here: decoding of one file (`images`). Only `batches` and `sources.download` import torch.
"""
