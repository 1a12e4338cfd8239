"""Compares the speed of this project with plain implementations and well-known libraries.

Modules:
    race: times several implementations in turn, in one process or in separate processes.
    training: compares training speed with a plain loop.
    plain_loop: the plain training loop.
    breakdown: measures the time of each part of a training step.
    equivalence: checks that both training loops compute the same losses.
    data: compares the speed of packing with Pillow.
    metrics: compares the speed of metrics with well-known libraries.
    gpu: runs all checks and measurements on a GPU machine.
    gpu_report: writes the report of `gpu`.

Not here: benchmarks of the dashboard and the model server (`scripts/`).
"""
