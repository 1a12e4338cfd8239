"""The job queue and its processes. No module of this package loads torch.

Modules:
    planning: turns a request into the configs of a study, and validates them.
    lifecycle: submits, extends, cancels, resumes, retries and deletes runs.
    estimates: estimates time, memory and disk space of a study.
    progress: estimates the time left of a running run.
    installation: binds an artifacts folder to one database.
    spawn: starts the supervisor.
    supervisor: claims jobs, starts workers, passes on stop requests.
    periodic: webhook, MLflow uploader and automatic retries.
    reaping: detects lost processes and ends their jobs.
    webhook: posts to a URL when a study ends.
    worker_command: builds the commands of workers and starts them.

Packages:
    launchers: where the process of a job runs.

Not here: what a worker does (`workers`).
"""
