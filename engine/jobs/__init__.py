"""The job queue and its processes. No module of this package loads torch.

Modules:
    planning: turns a request into the configs of a study, and validates them.
    lifecycle: submits, extends, cancels, resumes, retries and deletes runs.
    missing_metrics: finds the evaluations that lack metrics because weights were missing.
    exports: describes the exports of studies to MLflow.
    estimates: estimates time, memory and disk space of a study.
    progress: estimates the remaining time of a running run.
    installation: binds an artifacts folder to one database.
    spawn: starts the supervisor.
    supervisor: claims jobs, starts workers, passes on stop requests.
    periodic: runs the webhook, the exports to MLflow and automatic retries.
    reaping: detects lost processes and ends their jobs.
    webhook: posts to a URL when a study ends.
    worker_command: builds the commands of workers and starts them.

Packages:
    launchers: start the process of a job on this machine or on a cluster.

Not here: the work of a worker process (`workers`).
"""
