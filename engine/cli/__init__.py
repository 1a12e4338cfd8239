"""The command line, `python -m engine COMMAND` or `chromabench COMMAND`.

Modules that need torch are imported inside the commands that use them, so that all other commands
start fast.

Modules:
    main: the entry point and the group of all commands.
    studies: study.
    results: table, evaluate, export.
    runs: runs, cancel, resume, retry, front, archive, delete, clone, supervise.
    data: data list, check, prepare, describe, fetch.
    serving: serve, export-model.
    maintenance: backup, restore, disk, prune.
    tools: weights list, fetch and check, doctor, app.
    bench: bench train, metrics, data, gpu.
    completion: completion, and the values that shells offer for arguments.
    fetching: downloads feature weights for commands, with a progress bar.
    inputs: types of arguments that several commands share, settings, the store, confirmations.
    help: writes the help texts of commands.
    output: tables and progress bars in the terminal.
    doctor: checks of the machine and the installation.

Not here: the work itself, for which the commands call other packages of the engine.
"""
