"""The command line, `python -m engine COMMAND` or `chromabench COMMAND`.

Modules that need torch are imported inside the commands that use them, so that all other commands
start fast.

Modules:
    main: the entry point.
    parser: the argument parser.
    studies: study, table, evaluate, export.
    runs: runs, cancel, resume, retry, front, archive, delete, clone, supervise.
    data: data list, check, prepare, describe, fetch.
    serving: serve, export-model.
    maintenance: backup, restore, disk, prune.
    tools: weights, doctor, app.
    bench: bench train, metrics, data, gpu.
    fetching: downloads feature weights for commands, with a progress bar.
    inputs: arguments that several commands share.
    output: tables and progress bars in the terminal.
    doctor: checks of the machine and the installation.

Not here: the work itself, for which the commands call other packages of the engine.
"""
