"""The tables of options that a configuration chooses from: loss terms, outputs, decodings.

Every option is one row. `config` validates names with these tables; the networks and the training
step have one function or class for each row. The package does not import torch.
"""
