"""A contender of a benchmark. Its process starts fast, because this module loads no torch."""

import os


class StepCounter:
    """Counts its steps, and fails at certain numbers."""

    def __init__(self):
        self.steps = 0

    def take_steps(self, steps):
        if steps == 13:
            raise ValueError("unlucky")
        if steps == 99:
            raise SystemExit(3)
        self.steps += steps
        return steps

    def report(self):
        return {"steps": self.steps, "variable": os.environ.get("CHROMABENCH_TEST")}
