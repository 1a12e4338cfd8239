"""What a spawned process does: train, evaluate, scan, measure.

Modules:
    worker_process: runs the job of a process: signals, heartbeats, end of the job.
    train: trains and evaluates one run.
    setup: packs the data and resolves the config before training.
    recorder: records metrics, samples and checkpoints of a run.
    follower: trains as a rank above 0.
    survey: scans a source.
    speed_probe: measures training speed and memory on this machine.
    reevaluate: evaluates a stored checkpoint again.

Not here: the training loop (`training`) and the queue (`jobs`).
"""
