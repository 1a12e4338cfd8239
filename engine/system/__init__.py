"""Files, disks and processes of the operating system.

Modules:
    files: atomic writes, locks, log tails.
    disk: free space and formatted sizes.
    processes: process identities, detached starts.
    child_environment: environment variables of the processes that this project starts.

Not here: which processes are started for a job (`jobs`).
"""
