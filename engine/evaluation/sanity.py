"""Checks for blank and almost black images, whose metrics would be misleading."""

from engine.evaluation.values import Batch


class ImageSanity:
    """Counts blank and identical images, and records the largest byte of targets and of fakes.

    The sides of a pair are `target` and `generated`. An image is blank if each channel has a single
    value.

    Attributes:
        n: the number of pairs so far.
        identical: the number of fakes that are identical to their targets.
    """

    def __init__(self) -> None:
        self.n = 0
        self.identical = 0
        self._blank = {"target": 0, "generated": 0}
        self._largest_byte = {"target": 0, "generated": 0}

    def add(self, batch: Batch) -> None:
        """Adds a batch."""
        self.n += len(batch.fake_bytes)
        is_identical = (batch.fake_bytes == batch.target_bytes).flatten(1).all(1)
        self.identical += int(is_identical.sum())
        for side, images in (("target", batch.target_bytes), ("generated", batch.fake_bytes)):
            pixels = images.flatten(2)
            self._blank[side] += int((pixels.amax(2) == pixels.amin(2)).all(1).sum())
            self._largest_byte[side] = max(self._largest_byte[side], int(images.max()))

    def fault(self, side: str) -> str | None:
        """Returns the reason why metrics of one side would be misleading; None if there is none."""
        if self._blank[side] == self.n:
            return f"all {self.n} {side} pictures are blank, each of a single colour"
        if self._largest_byte[side] <= 1:
            return (
                f"no value of the {side} pictures is above 1 of 255; they may have been divided "
                "by 255 twice"
            )
        return None

    @property
    def note(self) -> str | None:
        """A note with the difference if more generated images than targets are blank; else None."""
        n_blank = self._blank["generated"] - self._blank["target"]
        return f"{n_blank} of {self.n} generated pictures are blank" if n_blank > 0 else None
