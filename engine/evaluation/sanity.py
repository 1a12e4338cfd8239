"""Whether pictures can be judged at all: the guard before every distance."""

from engine.evaluation.values import Batch


class Census:
    """Whether the pictures can be judged at all."""

    def __init__(self) -> None:
        self.n = 0
        self.identical = 0
        self._blank = {"target": 0, "generated": 0}
        self._brightest = {"target": 0, "generated": 0}

    def add(self, batch: Batch) -> None:
        """Counts blank pictures and notes the range of values."""
        self.n += len(batch.fake_bytes)
        same = (batch.fake_bytes == batch.target_bytes).flatten(1).all(1)
        self.identical += int(same.sum())
        for label, pictures in (("target", batch.target_bytes), ("generated", batch.fake_bytes)):
            flat = pictures.flatten(2)
            self._blank[label] += int((flat.amax(2) == flat.amin(2)).all(1).sum())
            self._brightest[label] = max(self._brightest[label], int(pictures.max()))

    def fault(self, label: str) -> str | None:
        """Why nothing may rest on one side's pictures, `target` or `generated`; None if it may."""
        if self._blank[label] == self.n:
            return f"all {self.n} {label} pictures are blank, each of a single colour"
        if self._brightest[label] <= 1:
            return (
                f"no value of the {label} pictures is above 1 of 255: they look as if they had "
                "been divided by 255 twice"
            )
        return None

    @property
    def note(self) -> str | None:
        """How many generated pictures are blank, where some are and their targets are not."""
        blank = self._blank["generated"] - self._blank["target"]
        return f"{blank} of {self.n} generated pictures are blank" if blank > 0 else None
