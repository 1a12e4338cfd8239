"""Distances and pixel metrics beside those of scipy, torch-fidelity and torchmetrics.

Every contender gets the same arrays.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.bench.race import race
from engine.errors import EngineError
from engine.metrics import distribution, pixel
from engine.records.comparison import Timing

DIMENSIONS = 2048
SET_SIZES = (500, 2048, 5000)
N_PICTURES, PX, BATCH = 500, 256, 16
COLD = ("scipy sqrtm",)  # nothing of it is made ready at its first call, which takes long

Features = NDArray[np.float64]


def run(rounds: int, on_progress: Callable[[str], None] = lambda doing: None) -> list[Timing]:
    """All tasks; takes a minute and a half a round on two cores.

    Raises:
        EngineError: torchmetrics is not installed.
    """
    if find_spec("torchmetrics") is None:
        raise EngineError("`bench metrics` needs torchmetrics: pip install torchmetrics.")
    found: list[Timing] = []
    for size in SET_SIZES:
        task = f"Frechet distance, {size} x {DIMENSIONS}"
        on_progress(task)
        real, fake = make_features(0, size), 1.2 * make_features(1, size) + 0.01
        contenders: dict[str, Callable[[Features, Features], float]] = {
            "ours": distribution.fid,
            "scipy sqrtm": _by_sqrtm,
            "torch-fidelity": _by_torch_fidelity,
            "torchmetrics": _by_torchmetrics,
        }
        timed = {who: partial(it, real, fake) for who, it in contenders.items()}
        found += race(task, timed, rounds, exact_frechet(real, fake), COLD)
    fakes, target = _make_pictures()
    for name, sizes, ours, theirs in _pixel_contenders():
        for size in sizes:
            how = "in one call" if size == N_PICTURES else f"{size} at a time"
            task = f"{name}, {N_PICTURES} pictures of {PX} px, {how}"
            on_progress(task)
            pair = {"ours": ours, "torchmetrics": theirs}
            timed = {who: partial(_in_calls, it, fakes, target, size) for who, it in pair.items()}
            found += race(task, timed, rounds)
    return found


def make_features(seed: int, size: int) -> Features:
    """Made-up features of correlated columns with a decaying spectrum, as pooled ones have."""
    values = np.random.default_rng(seed).standard_normal((size, DIMENSIONS))
    values += 0.5 * np.roll(values, 1, axis=1)
    found: Features = np.abs(values / (1 + np.arange(DIMENSIONS) / 16))
    return found


def exact_frechet(real: Features, fake: Features) -> float:
    """The slow exact route: the nuclear norm of the centred products by numpy's SVD."""
    difference = real.mean(0) - fake.mean(0)
    x, y = ((it - it.mean(0)) / (len(it) - 1) ** 0.5 for it in (real, fake))
    product = x @ y.T
    if len(x) > x.shape[1]:
        product = _triangle(x) @ _triangle(y).T
    shared = np.linalg.svd(product, compute_uv=False).sum()
    return float(difference @ difference + (x * x).sum() + (y * y).sum() - 2 * shared)


def _triangle(x: Features) -> Features:
    return np.asarray(np.linalg.qr(x, mode="r"), dtype=np.float64)


def _statistics(features: Features) -> tuple[Features, Features]:
    return features.mean(0), np.cov(features, rowvar=False)


def _by_sqrtm(real: Features, fake: Features) -> float:
    from scipy.linalg import sqrtm

    (mean, covariance), (other_mean, other) = _statistics(real), _statistics(fake)
    root = sqrtm(covariance @ other)
    difference = mean - other_mean
    traces = np.trace(covariance) + np.trace(other) - 2 * np.trace(root).real
    return float(difference @ difference + traces)


def _by_torch_fidelity(real: Features, fake: Features) -> float:
    from torch_fidelity import metric_fid

    parts = [metric_fid.fid_features_to_statistics(torch.from_numpy(it)) for it in (real, fake)]
    found = metric_fid.fid_statistics_to_metric(*parts, verbose=False)
    return float(found["frechet_inception_distance"])


def _by_torchmetrics(real: Features, fake: Features) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = FrechetInceptionDistance(nn.Identity(), input_img_size=(DIMENSIONS,))  # type: ignore[arg-type]
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
        return float(metric.compute())


def _make_pictures() -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    target = torch.rand(N_PICTURES, 3, PX, PX, generator=chance)
    noise = 0.1 * torch.randn(target.shape, generator=chance)
    return (target + noise).clamp(0, 1), target


PixelMetric = Callable[[Tensor, Tensor], Tensor]


def _pixel_contenders() -> Sequence[tuple[str, Sequence[int], PixelMetric, PixelMetric]]:
    """Name, pictures at a time, ours and theirs; theirs has no memory for 500 SSIMs at once."""
    from torchmetrics.functional import image

    def their_psnr(x: Tensor, y: Tensor) -> Tensor:
        return image.peak_signal_noise_ratio(x, y, 1.0, reduction="none", dim=(1, 2, 3))

    def their_ssim(x: Tensor, y: Tensor) -> Tensor:
        found = image.structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
        assert isinstance(found, Tensor)
        return found

    return (
        ("PSNR", (N_PICTURES, BATCH), pixel.psnr, their_psnr),
        ("SSIM", (BATCH, 4), pixel.ssim, their_ssim),
    )


def _in_calls(metric: PixelMetric, fakes: Tensor, targets: Tensor, size: int) -> float:
    pieces = zip(torch.split(fakes, size), torch.split(targets, size), strict=True)
    return float(torch.cat([metric(x, y) for x, y in pieces]).mean())
