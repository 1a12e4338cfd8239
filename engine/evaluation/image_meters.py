"""Meters of pixels, colour, variety and the discriminator: no feature network needed."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.evaluation.values import (
    N_HALVES,
    SET_LIMIT,
    Batch,
    Meter,
    Value,
    absent,
    mean_value,
    set_value,
)
from engine.images import color
from engine.metrics import half_sampling, intervals, pixel
from engine.metrics.pixel import PSNR_CEILING

THUMBNAIL_PX = 32
EXACT = "donot_use_mm_for_euclid_dist"  # by products, equal pictures would be 1e-7 apart
AB_BINS, AB_REACH = 32, 110.0


class PerPicture:
    """One figure for each picture, and its mean."""

    def __init__(
        self,
        name: str,
        measure: Callable[[Tensor, Tensor], Tensor],
        measure_target: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.names = (name,)
        self._measure, self._measure_target = measure, measure_target
        self._scores: list[float] = []
        self._of_targets: list[float] = []

    def add(self, batch: Batch) -> None:
        """Measures each picture."""
        fake, target = batch.pictures
        self._scores += self._measure(fake, target).tolist()
        if self._measure_target is not None:
            self._of_targets += self._measure_target(target).tolist()

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """The mean over pictures."""
        reference = float(np.mean(self._of_targets)) if self._of_targets else None
        return [mean_value(self.names[0], self._scores, protocol, reference)]


class CappedPsnr(PerPicture):
    """PSNR per picture, at most what half a grey level everywhere gives.

    A perfect picture has an infinite PSNR: left out it would not count, kept it would be all
    that counts. The same ceiling holds while training.
    """

    def __init__(self) -> None:
        super().__init__("psnr", pixel.capped_psnr)

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """The mean, with a word on how many pictures stand at the ceiling."""
        (value,) = super().values({**protocol, "ceiling_db": PSNR_CEILING})
        capped = sum(score == PSNR_CEILING for score in value.per_picture or ())
        if not capped:
            return [value]
        return [value.with_note(f"{capped} nearly perfect pictures count as {PSNR_CEILING} dB")]


class ColourHistograms:
    """Which colours there are at all: the divergence of Lab a/b histograms.

    The neutral centre is left out, else every picture's white ground would hide its colours.
    """

    names = ("ab_divergence",)

    def __init__(self) -> None:
        self._fakes: list[NDArray[np.float32]] = []
        self._targets: list[NDArray[np.float32]] = []

    def add(self, batch: Batch) -> None:
        """Counts the colours of each picture."""
        fake, target = batch.pictures
        self._fakes.append(ab_histograms(fake))
        self._targets.append(ab_histograms(target))

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """One divergence for the set."""
        fakes, targets = (
            np.concatenate(parts).astype(np.float64) for parts in (self._fakes, self._targets)
        )
        n = len(fakes)
        protocol = {**protocol, "histogram": f"{AB_BINS}x{AB_BINS} bins, centre left out"}
        value = float(half_sampling.jensen_shannon(fakes.sum(0)[None], targets.sum(0)[None])[0])
        if not math.isfinite(value):
            grey = "generated" if not fakes.sum() else "target"
            return absent(self.names, protocol, f"the {grey} pictures have no colour to compare")
        halves = intervals.half_samples(n, N_HALVES)
        sampled = half_sampling.histogram_divergence(fakes, targets, halves)
        return [set_value(self.names[0], value, n, protocol, sampled)]


class Diversity:
    """Whether the fakes differ among each other as much as their targets do."""

    names = ("diversity",)

    def __init__(self) -> None:
        self._fakes: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._n = 0

    def add(self, batch: Batch) -> None:
        """Keeps a thumbnail of each picture."""
        room = max(0, SET_LIMIT - self._n)
        self._n += len(batch.fake_bytes[:room])
        for kept, pictures in zip((self._fakes, self._targets), batch.pictures, strict=True):
            small = functional.adaptive_avg_pool2d(pictures[:room], THUMBNAIL_PX)
            kept.append(small.flatten(1).cpu())

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """The ratio of mean distances between two pictures."""
        protocol = {**protocol, "n_pictures": self._n, "distance": f"RMS at {THUMBNAIL_PX} px"}
        if self._n < 2:
            return absent(self.names, protocol, "a single picture differs from no other")
        fakes, targets = (
            torch.cdist(it, it, compute_mode=EXACT).numpy()
            for it in (torch.cat(parts).double() for parts in (self._fakes, self._targets))
        )
        for distances in (fakes, targets):
            np.fill_diagonal(distances, 0.0)
        if not targets.sum():
            return absent(self.names, protocol, "all target pictures are the same")
        sampled = None
        if self._n >= 4:
            halves = intervals.half_samples(self._n, N_HALVES)
            sampled = half_sampling.diversity(fakes, targets, halves)
        value = float(fakes.sum() / targets.sum())
        return [set_value(self.names[0], value, self._n, protocol, sampled)]


class Adversary:
    """How well the discriminator still tells targets from fakes: shares of patches."""

    names = ("d_real_accuracy", "d_fake_accuracy", "d_accuracy")

    def __init__(self, discriminator: nn.Module) -> None:
        self._discriminator = discriminator.eval()
        self._real: list[float] = []
        self._fake: list[float] = []

    @torch.no_grad()
    def add(self, batch: Batch) -> None:
        """Asks about each target and each fake."""
        real = self._discriminator(batch.source, batch.target) > 0
        fake = self._discriminator(batch.source, batch.fake) < 0
        self._real += real.float().flatten(1).mean(1).tolist()
        self._fake += fake.float().flatten(1).mean(1).tolist()

    def values(self, protocol: Mapping[str, Any]) -> list[Value]:
        """Shares of patches judged rightly."""
        both = [(real + fake) / 2 for real, fake in zip(self._real, self._fake, strict=True)]
        columns = zip(self.names, (self._real, self._fake, both), strict=True)
        return [mean_value(name, scores, protocol) for name, scores in columns]


def ab_histograms(pictures: Tensor) -> NDArray[np.float32]:
    """Counts of Lab a/b per picture -> [N, bins], the neutral centre of 2x2 bins emptied."""
    _, a, b = color.lab((pictures.cpu() if pictures.device.type == "mps" else pictures).double())
    cells = [
        ((it + AB_REACH) * (AB_BINS / (2 * AB_REACH))).long().clamp(0, AB_BINS - 1) for it in (a, b)
    ]
    n = len(pictures)
    flat = (cells[0] * AB_BINS + cells[1]).flatten(1)  # [N, H * W]
    offset = torch.arange(n, device=flat.device)[:, None] * AB_BINS**2
    counts = torch.bincount((flat + offset).flatten(), minlength=n * AB_BINS**2)
    grid = counts.view(n, AB_BINS, AB_BINS).cpu().numpy().astype(np.float32)
    middle = slice(AB_BINS // 2 - 1, AB_BINS // 2 + 1)
    grid[:, middle, middle] = 0
    return grid.reshape(n, -1)


PIXEL_METERS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": pixel.mse,
    "mae": pixel.mae,
    "ssim": pixel.ssim,
    "delta_e": pixel.delta_e,
    "colorfulness_gap": pixel.colorfulness_gap,
}


def picture_meters() -> list[Meter]:
    """Meters of pixels and colour, which need nothing but the pictures."""
    meters: list[Meter] = [PerPicture(name, measure) for name, measure in PIXEL_METERS.items()]
    meters.append(
        PerPicture("colorfulness", lambda fake, _: pixel.colorfulness(fake), pixel.colorfulness)
    )
    return [CappedPsnr(), *meters, ColourHistograms(), Diversity()]
