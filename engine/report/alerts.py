"""Finds problems in the curves of a run while it trains. Torch-free.

A `CurveMonitor` receives every recorded point in order. Its alerts depend on the points only, so
an interrupted run has the same alerts as an uninterrupted one.
"""

from collections.abc import Iterable

from engine.records.curves import Alert, MetricPoint
from engine.report.stability import WON_ABOVE, WON_BELOW

SATURATED_SHARE = 0.9  # a discriminator that wins this share of an epoch's steps is saturated
MIN_STEPS = 20  # an epoch with fewer recorded steps does not count as saturated
# A plateau is a quarter of all epochs, but at least 5, without a better validation PSNR.
MIN_PLATEAU_EPOCHS, PLATEAUS_PER_RUN = 5, 4
STEP_CURVES = (*WON_ABOVE, *WON_BELOW)
MONITORED_CURVES = (*STEP_CURVES, "val_psnr")


class CurveMonitor:
    """Monitors the curves of one run.

    Args:
        run_id: the run.
        epochs: the number of epochs of the run.
    """

    def __init__(self, run_id: int, epochs: int) -> None:
        self.run_id = run_id
        self.plateau_epochs = max(MIN_PLATEAU_EPOCHS, -(-epochs // PLATEAUS_PER_RUN))
        # Step of the current epoch -> whether the discriminator has won the step.
        self._steps: dict[int, bool] = {}
        # Whether the current epoch is the first epoch with steps of the discriminator.
        self._is_first = True
        self._is_saturated = False
        self._best: tuple[float, int] | None = None  # validation PSNR, epoch
        self._is_plateau = False

    def add(self, points: Iterable[MetricPoint]) -> list[Alert]:
        """Adds new points, and returns the alerts that they cause."""
        alerts = []
        for point in points:
            if point.value is None:
                continue
            if point.name in STEP_CURVES:
                won = point.value > WON_ABOVE.get(point.name, point.value)
                won = won or point.value < WON_BELOW.get(point.name, point.value)
                self._steps[point.step] = self._steps.get(point.step, False) or won
            elif point.name == "val_psnr":
                alerts += self._end_epoch(point)
                alerts += self._check_plateau(point, point.value)
        return alerts

    def _end_epoch(self, point: MetricPoint) -> list[Alert]:
        """Checks the ended epoch for saturation, except the first: every discriminator wins it."""
        n_steps, n_won = len(self._steps), sum(self._steps.values())
        is_first, self._is_first = self._is_first, self._is_first and not n_steps
        self._steps = {}
        was_saturated, self._is_saturated = (
            self._is_saturated,
            not is_first and n_steps >= MIN_STEPS and n_won >= SATURATED_SHARE * n_steps,
        )
        if was_saturated or not self._is_saturated:
            return []
        text = (
            f"The discriminator won {n_won / n_steps:.0%} of the steps of epoch {point.epoch}, so "
            "the generator learns little from it."
        )
        return [Alert(self.run_id, point.step, "saturated", text)]

    def _check_plateau(self, point: MetricPoint, value: float) -> list[Alert]:
        """Checks whether the validation PSNR has reached a plateau."""
        if self._best is None or value > self._best[0]:
            self._best, self._is_plateau = (value, point.epoch), False
            return []
        n_epochs = point.epoch - self._best[1]
        if self._is_plateau or n_epochs < self.plateau_epochs:
            return []
        self._is_plateau = True
        text = (
            f"No better validation PSNR for {n_epochs} epochs, since epoch {self._best[1]} "
            f"({self._best[0]:.2f} dB)."
        )
        return [Alert(self.run_id, point.step, "plateau", text)]
