"""Meters of pixels, colour, diversity and the discriminator, without a feature network."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.evaluation.values import (
    MAX_SET_SIZE,
    N_HALVES,
    Batch,
    Meter,
    MetricResult,
    mean_result,
    set_result,
    unavailable,
)
from engine.images import color
from engine.metrics import half_sampling, intervals, pixel
from engine.metrics.pixel import PSNR_CEILING_DB

THUMBNAIL_PX = 32
# The other modes of `torch.cdist` use matrix products and give 1e-7 for equal images, not 0.
EXACT_CDIST_MODE = "donot_use_mm_for_euclid_dist"
AB_BINS, AB_RANGE = 32, 110.0  # bins per axis; both axes reach from -110 to 110
# The part of the weave's protocol that states the constants of `pixel`.
FLAT_PLACE = "5x5 px of a target within 2 grey levels, not white (250 or more)"

PIXEL_METRICS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": pixel.mse,
    "mae": pixel.mae,
    "ssim": pixel.ssim,
    "delta_e": pixel.delta_e,
    "colorfulness_gap": pixel.colorfulness_gap,
}


class PerImageMetric:
    """Averages a per-image metric over all images.

    Args:
        name: the metric's name.
        measure: (fake, target), each [B, 3, H, W] in [0, 1] -> [B].
        measure_target: target -> [B], for the reference value; None: no reference value.
    """

    def __init__(
        self,
        name: str,
        measure: Callable[[Tensor, Tensor], Tensor],
        measure_target: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.names = (name,)
        self._measure, self._measure_target = measure, measure_target
        self._scores: list[float] = []
        self._target_scores: list[float] = []

    def add(self, batch: Batch) -> None:
        """Measures each image of the batch."""
        fake, target = batch.pictures
        self._scores += self._measure(fake, target).tolist()
        if self._measure_target is not None:
            self._target_scores += self._measure_target(target).tolist()

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Returns the mean over images."""
        reference = float(np.mean(self._target_scores)) if self._target_scores else None
        return [mean_result(self.names[0], self._scores, protocol, reference)]


class CappedPsnr(PerImageMetric):
    """Averages the PSNR over images; the PSNR of each image is capped at `PSNR_CEILING_DB`.

    The cap is the PSNR of an image that is off by half a grey level everywhere. The PSNR of a
    perfect image is infinite, so the mean of a split with one perfect image would be infinite.
    Validation during training uses the same cap.
    """

    def __init__(self) -> None:
        super().__init__("psnr", pixel.capped_psnr)

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Returns the mean over images, with a note on the number of capped images."""
        (result,) = super().results({**protocol, "ceiling_db": PSNR_CEILING_DB})
        n_capped = sum(score == PSNR_CEILING_DB for score in result.per_picture or ())
        if not n_capped:
            return [result]
        note = f"{n_capped} nearly perfect pictures count as {PSNR_CEILING_DB} dB"
        return [result.with_note(note)]


class Weave(PerImageMetric):
    """Averages the weave over the images whose targets have flat places, as `pixel.weave` does."""

    def __init__(self) -> None:
        super().__init__("weave", pixel.weave, lambda target: pixel.weave(target, target))

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Returns the mean over the images with a value; `n_pictures` is their number."""
        protocol = {**protocol, "flat_place": FLAT_PLACE}
        scores = [None if math.isnan(score) else score for score in self._scores]
        if scores.count(None) == len(scores):
            return unavailable(self.names, protocol, "no target picture has a flat place")
        reference = float(np.nanmean(self._target_scores))
        return [mean_result(self.names[0], scores, protocol, reference)]


class ColourDivergence:
    """Computes the Jensen-Shannon divergence of Lab a/b histograms of all fakes and all targets.

    The neutral centre is left out, because the white background would dominate all other colours.
    """

    names = ("ab_divergence",)

    def __init__(self) -> None:
        self._fakes: list[NDArray[np.float32]] = []
        self._targets: list[NDArray[np.float32]] = []

    def add(self, batch: Batch) -> None:
        """Adds the histograms of a batch."""
        fake, target = batch.pictures
        self._fakes.append(ab_histograms(fake))
        self._targets.append(ab_histograms(target))

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Returns one divergence for the whole set."""
        fakes, targets = (
            np.concatenate(histograms).astype(np.float64)
            for histograms in (self._fakes, self._targets)
        )
        n = len(fakes)
        protocol = {**protocol, "histogram": f"{AB_BINS}x{AB_BINS} bins, centre left out"}
        value = float(half_sampling.jensen_shannon(fakes.sum(0)[None], targets.sum(0)[None])[0])
        if not math.isfinite(value):
            grey_side = "generated" if not fakes.sum() else "target"
            reason = f"the {grey_side} pictures have no colour to compare"
            return unavailable(self.names, protocol, reason)
        halves = intervals.half_samples(n, N_HALVES)
        on_halves = half_sampling.histogram_divergence(fakes, targets, halves)
        return [set_result(self.names[0], value, n, protocol, on_halves)]


class Diversity:
    """Computes the mean distance between two fakes, divided by that between two targets."""

    names = ("diversity",)

    def __init__(self) -> None:
        self._fakes: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._n = 0

    def add(self, batch: Batch) -> None:
        """Stores a thumbnail of each fake and each target, up to `MAX_SET_SIZE` of each."""
        n_free = max(0, MAX_SET_SIZE - self._n)
        self._n += len(batch.fake_bytes[:n_free])
        for thumbnails, images in zip((self._fakes, self._targets), batch.pictures, strict=True):
            small = functional.adaptive_avg_pool2d(images[:n_free], THUMBNAIL_PX)
            thumbnails.append(small.flatten(1).cpu())

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Returns the ratio of the mean distances."""
        protocol = {**protocol, "n_pictures": self._n, "distance": f"RMS at {THUMBNAIL_PX} px"}
        if self._n < 2:
            return unavailable(self.names, protocol, "diversity needs at least two pictures")
        fakes, targets = (
            _distances(torch.cat(thumbnails)) for thumbnails in (self._fakes, self._targets)
        )
        if not targets.sum():
            return unavailable(self.names, protocol, "all target pictures are equal")
        on_halves = None
        if self._n >= 4:
            halves = intervals.half_samples(self._n, N_HALVES)
            on_halves = half_sampling.diversity(fakes, targets, halves)
        value = float(fakes.sum() / targets.sum())
        return [set_result(self.names[0], value, self._n, protocol, on_halves)]


class DiscriminatorAccuracy:
    """Computes the shares of patches that the discriminator classifies correctly."""

    names = ("d_real_accuracy", "d_fake_accuracy", "d_accuracy")

    def __init__(self, discriminator: nn.Module) -> None:
        self._discriminator = discriminator.eval()
        self._real: list[float] = []
        self._fake: list[float] = []

    @torch.no_grad()
    def add(self, batch: Batch) -> None:
        """Classifies the patches of each target and each fake."""
        real = self._discriminator(batch.source, batch.target) > 0
        fake = self._discriminator(batch.source, batch.fake) < 0
        self._real += real.float().flatten(1).mean(1).tolist()
        self._fake += fake.float().flatten(1).mean(1).tolist()

    def results(self, protocol: Mapping[str, Any]) -> list[MetricResult]:
        """Returns the accuracies on targets, on fakes and on both."""
        both = [(real + fake) / 2 for real, fake in zip(self._real, self._fake, strict=True)]
        columns = zip(self.names, (self._real, self._fake, both), strict=True)
        return [mean_result(name, scores, protocol) for name, scores in columns]


def ab_histograms(images: Tensor) -> NDArray[np.float32]:
    """Counts the Lab a/b values of each image.

    Args:
        images: [N, 3, H, W] in [0, 1].

    Returns:
        [N, bins] counts; the 2x2 bins of the neutral centre are set to 0.
    """
    on_device = images.cpu() if images.device.type == "mps" else images
    _, a, b = color.srgb_to_lab(on_device.double())
    bins_a, bins_b = (
        ((axis + AB_RANGE) * (AB_BINS / (2 * AB_RANGE))).long().clamp(0, AB_BINS - 1)
        for axis in (a, b)
    )
    n = len(images)
    bins = (bins_a * AB_BINS + bins_b).flatten(1)  # [N, H * W]
    offset = torch.arange(n, device=bins.device)[:, None] * AB_BINS**2
    counts = torch.bincount((bins + offset).flatten(), minlength=n * AB_BINS**2)
    grid = counts.view(n, AB_BINS, AB_BINS).cpu().numpy().astype(np.float32)
    centre = slice(AB_BINS // 2 - 1, AB_BINS // 2 + 1)
    grid[:, centre, centre] = 0
    return grid.reshape(n, -1)


def build_image_meters() -> list[Meter]:
    """Builds the meters of pixels, colour and diversity."""
    meters: list[Meter] = [PerImageMetric(name, measure) for name, measure in PIXEL_METRICS.items()]
    meters.append(
        PerImageMetric("colorfulness", lambda fake, _: pixel.colorfulness(fake), pixel.colorfulness)
    )
    return [CappedPsnr(), *meters, Weave(), ColourDivergence(), Diversity()]


def _distances(thumbnails: Tensor) -> NDArray[np.float64]:
    """Computes the distances between all rows [N, D] -> [N, N] float64, 0 on the diagonal."""
    rows = thumbnails.double()
    distances: NDArray[np.float64] = torch.cdist(rows, rows, compute_mode=EXACT_CDIST_MODE).numpy()
    np.fill_diagonal(distances, 0.0)
    return distances
