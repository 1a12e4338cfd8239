"""What in a run's curves a person should look at, while it trains. Torch-free.

A watch is fed every recorded point, in order, and says what it sees; what it says follows from the
points alone, so that a run that was interrupted has the same alerts as one that was not.
"""

from collections.abc import Iterable

from engine.records.curves import Alert, MetricPoint
from engine.report.stability import WON_ABOVE, WON_BELOW

WON = 0.9  # share of an epoch's steps, from which on the discriminator has won it
FEWEST = 20  # recorded steps of an epoch, from which on a share means something
PATIENCE = (5, 4)  # epochs without a better picture: at least so many, and one in so many of all
STEPWISE = (*WON_ABOVE, *WON_BELOW)
WATCHED = (*STEPWISE, "val_psnr")


class Watch:
    """Looks after the curves of one run.

    Args:
        run_id: whose.
        epochs: that it is to have.
    """

    def __init__(self, run_id: int, epochs: int) -> None:
        self.run_id = run_id
        self.patience = max(PATIENCE[0], -(-epochs // PATIENCE[1]))
        self._steps: dict[int, bool] = {}  # of the epoch at work: whether the discriminator won
        self._is_first = True  # of the epochs in which there is a discriminator
        self._is_saturated = False
        self._best: tuple[float, int] | None = None
        self._is_plateau = False

    def look(self, points: Iterable[MetricPoint]) -> list[Alert]:
        """Takes in new points, and says what is new in them."""
        found = []
        for point in points:
            if point.value is None:
                continue
            if point.name in STEPWISE:
                won = point.value > WON_ABOVE.get(point.name, point.value)
                won = won or point.value < WON_BELOW.get(point.name, point.value)
                self._steps[point.step] = self._steps.get(point.step, False) or won
            elif point.name == "val_psnr":
                found += self._end_epoch(point)
                found += self._validated(point, point.value)
        return found

    def _end_epoch(self, point: MetricPoint) -> list[Alert]:
        """In its first epoch every discriminator wins: that is no news."""
        count, wins = len(self._steps), sum(self._steps.values())
        is_first, self._is_first = self._is_first, self._is_first and not count
        self._steps = {}
        was_saturated, self._is_saturated = (
            self._is_saturated,
            not is_first and count >= FEWEST and wins >= WON * count,
        )
        if was_saturated or not self._is_saturated:
            return []
        text = (
            f"The discriminator won {wins / count:.0%} of the steps of epoch {point.epoch}: the "
            "generator learns little from it."
        )
        return [Alert(self.run_id, point.step, "saturated", text)]

    def _validated(self, point: MetricPoint, value: float) -> list[Alert]:
        if self._best is None or value > self._best[0]:
            self._best, self._is_plateau = (value, point.epoch), False
            return []
        waited = point.epoch - self._best[1]
        if self._is_plateau or waited < self.patience:
            return []
        self._is_plateau = True
        text = (
            f"No better validation PSNR for {waited} epochs, since epoch {self._best[1]} "
            f"({self._best[0]:.2f} dB)."
        )
        return [Alert(self.run_id, point.step, "plateau", text)]
