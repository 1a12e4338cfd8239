"""Files, disks and processes of the operating system.

Modules:
    files: atomic writes, locks, log tails.
    logs: configures logging.
    disk: sizes of files, and free space.
    processes: process identities, detached starts, CPU cores.
    gpus: GPUs of this machine, found without torch.
    extras: packages of optional features, and the commands that install them.
    child_environment: environment variables of the processes that this project starts.

Not here: which processes are started for a job (`jobs`).
"""
