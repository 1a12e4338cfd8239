"""The job queue and its processes. Torch-free.

Modules:
    planning: turns a request into the runs of a study, and validates it.
    lifecycle: submits, extends, cancels, resumes, retries and deletes runs.
    estimates: predicts time, memory and disk of a study.
    progress: time left of a running run.
    spawn: starts supervisors and workers.
    supervisor: claims jobs, starts workers, detects lost ones.
    webhook: posts to a URL when a study ends.

Packages:
    launchers: where the process of a job runs.

Not here: what a worker does (`workers`).
"""
