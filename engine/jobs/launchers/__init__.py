"""Starts the process of a claimed job, on this machine or on a Ray cluster.

The database holds the state of a job, and a worker records its own end. The supervisor polls a
launcher to detect processes that ended without a record.

Modules:
    interface: defines the methods of a launcher.
    local: runs jobs on this machine.
    ray_jobs: runs jobs on a Ray cluster.
    select: selects launchers from the settings, and validates the settings of a cluster.

Not here: claiming of jobs (`jobs.supervisor`).
"""
