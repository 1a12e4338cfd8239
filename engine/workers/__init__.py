"""Training, evaluation, scans and speed measurements: the work of the worker processes.

Modules:
    worker_process: runs a job, with its signals, heartbeats and recorded end.
    train: trains and evaluates one run.
    setup: packs the data and resolves the config before training.
    recorder: records metrics, samples and checkpoints of a run.
    follower: computes the share of a rank above 0.
    survey: scans a source.
    speed_probe: measures training speed and memory on this machine.
    missing_metrics: computes the metrics that the evaluations of a study lack.
    export: uploads a study to an MLflow server.
    reevaluate: evaluates a stored checkpoint again, in the process of a command.

Not here: the training loop (`training`) and the queue (`jobs`).
"""
