"""Pairs of pictures: sources of them, their packed form, and batches for training.

`sources` names them, `openmoji` draws the embedded ones, `packing` keeps them as one array of
bytes, `batches` (the only one that knows torch) cuts and mirrors both halves with one draw.
"""
