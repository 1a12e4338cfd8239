"""Benchmarks: this project beside plain implementations and well-known libraries, in one run.

Modules:
    training: training speed beside a plain loop.
    plain_loop: the plain training loop.
    data: packing beside Pillow.
    metrics: metrics beside well-known libraries.
    race: times contenders in turn in one process.
    contenders: times contenders in processes of their own.
    breakdown: where the time of a training step goes.
    equivalence: checks that both training loops compute the same.
    gpu: all checks and measurements of a GPU machine.
    gpu_report: the report of `gpu`.

Not here: benchmarks of the dashboard and the server (`scripts/`).
"""
