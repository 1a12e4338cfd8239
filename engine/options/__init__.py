"""The tables of options that a configuration chooses from. Does not import torch.

Every option is one row. `config` validates names with these tables; `networks` and `training` have
one function or class for each row.

Modules:
    loss_terms: the terms of the generator's loss.
    outputs: what a generator computes per pixel, and how it becomes a picture.
    decodings: how a picture is read from a distribution over palette colours.

Not here: the functions and classes of the rows (`training.losses`, `networks.outputs`,
`networks.decoding`).
"""
