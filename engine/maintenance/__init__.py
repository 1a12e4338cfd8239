"""Backup and disk space of an installation.

Modules:
    backup: backs up and restores database and artifacts.
    pruning: deletes files that are no longer needed.

Not here: deletion of runs (`jobs.lifecycle`), the files of a run (`store.run_files`).
"""
