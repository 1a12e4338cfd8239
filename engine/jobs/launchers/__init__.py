"""Starts the process of a claimed job, on this machine or on a Ray cluster.

The database holds the state of a job. A launcher is polled only for processes that could not
record their own end.

Modules:
    interface: the interface of a launcher.
    local: processes on this machine.
    ray_jobs: jobs on a Ray cluster.
    select: selects launchers from the settings, and validates the settings of a cluster.

Not here: claiming of jobs (`jobs.supervisor`).
"""
