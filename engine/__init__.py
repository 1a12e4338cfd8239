"""Chromabench's engine: train, evaluate and compare pix2pix configurations.

Read it in this order: `config` (what a run is), `presets` (the two tables), `training` (the
loop), `evaluation` (the numbers), `store` (where they are kept), `jobs`, `supervisor`, `worker`
(how a run becomes a process) and `cli` (the commands). Importing this package loads nothing.
"""
