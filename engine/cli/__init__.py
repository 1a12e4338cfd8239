"""The command line, `python -m engine COMMAND`.

Modules that need torch are imported inside the commands that use them, so that all other commands
start fast.

Modules:
    parser: the argument parser and the entry point.
    studies: study, clone, table, export, evaluate.
    runs: runs, cancel, resume, retry, front, archive, delete.
    data: data list, check, prepare, describe, fetch.
    serving: serve, export-model.
    maintenance: backup, restore, disk, prune.
    tools: weights, supervise, doctor.
    bench: bench train, metrics, data, gpu.
    inputs: paths and stores given as arguments.
    output: tables and progress bars in the terminal.
    doctor: checks of the machine and the installation.

Not here: the work itself; commands call the packages below.
"""
