"""Benchmarks: this project beside plain implementations and well-known libraries.

Modules:
    race: times contenders in turn, in one process or in processes of their own.
    training: training speed beside a plain loop.
    plain_loop: the plain training loop.
    breakdown: the time of each part of a training step.
    equivalence: checks that both training loops compute the same losses.
    data: packing beside Pillow.
    metrics: metrics beside well-known libraries.
    gpu: all checks and measurements of a GPU machine.
    gpu_report: the report of `gpu`.

Not here: benchmarks of the dashboard and the model server (`scripts/`).
"""
