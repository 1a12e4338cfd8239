"""Times distance and pixel metrics beside scipy, torch-fidelity and torchmetrics."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.bench.race import Timing, time_contenders
from engine.metrics import distribution, pixel
from engine.system import extras

N_DIMENSIONS = 2048
SET_SIZES = (500, 2048, 5000)
N_PICTURES, PX, BATCH = 500, 256, 16
# scipy's square root gets no warm-up: it is slow and does not become faster after its first call.
COLD = ("scipy sqrtm",)

Features = NDArray[np.float64]


def run(rounds: int, on_progress: Callable[[str], None] = lambda text: None) -> list[Timing]:
    """Times all tasks; takes about 1.5 minutes per round on two cores.

    Args:
        rounds: number of timed rounds.
        on_progress: called with the name of each task.

    Raises:
        BadInputError: torchmetrics is not installed.
    """
    extras.require("dev", "`bench metrics`")
    return [*_time_distances(rounds, on_progress), *_time_pixel_metrics(rounds, on_progress)]


def _time_distances(rounds: int, on_progress: Callable[[str], None]) -> list[Timing]:
    functions: dict[str, Callable[[Features, Features], float]] = {
        "ours": distribution.fid,
        "scipy sqrtm": _fid_by_scipy,
        "torch-fidelity": _fid_by_torch_fidelity,
        "torchmetrics": _fid_by_torchmetrics,
    }
    timings: list[Timing] = []
    for size in SET_SIZES:
        task = f"Frechet distance, {size} x {N_DIMENSIONS}"
        on_progress(task)
        real, fake = make_features(0, size), 1.2 * make_features(1, size) + 0.01
        contenders = {name: partial(fid, real, fake) for name, fid in functions.items()}
        timings += time_contenders(task, contenders, rounds, exact_frechet(real, fake), COLD)
    return timings


def _time_pixel_metrics(rounds: int, on_progress: Callable[[str], None]) -> list[Timing]:
    fakes, targets = _make_pictures()
    timings: list[Timing] = []
    for metric_name, batch_sizes, our_metric, torchmetrics_metric in _pixel_metrics():
        for batch in batch_sizes:
            calls = "in one call" if batch == N_PICTURES else f"{batch} at a time"
            task = f"{metric_name}, {N_PICTURES} pictures of {PX} px, {calls}"
            on_progress(task)
            metrics = {"ours": our_metric, "torchmetrics": torchmetrics_metric}
            contenders = {
                name: partial(_mean_in_batches, metric, fakes, targets, batch)
                for name, metric in metrics.items()
            }
            timings += time_contenders(task, contenders, rounds)
    return timings


def make_features(seed: int, size: int) -> Features:
    """Makes features [size, dimensions] that resemble those of a pooling layer.

    Their columns are correlated and their spectrum decays.
    """
    values = np.random.default_rng(seed).standard_normal((size, N_DIMENSIONS))
    values += 0.5 * np.roll(values, 1, axis=1)
    features: Features = np.abs(values / (1 + np.arange(N_DIMENSIONS) / 16))
    return features


def exact_frechet(real: Features, fake: Features) -> float:
    """Computes the Frechet distance exactly, from the nuclear norm of the centred products.

    This is slow: it needs a singular value decomposition.
    """
    difference = real.mean(0) - fake.mean(0)
    x, y = ((values - values.mean(0)) / (len(values) - 1) ** 0.5 for values in (real, fake))
    product = x @ y.T
    if len(x) > x.shape[1]:
        product = _triangle(x) @ _triangle(y).T
    nuclear_norm = np.linalg.svd(product, compute_uv=False).sum()
    return float(difference @ difference + (x * x).sum() + (y * y).sum() - 2 * nuclear_norm)


def _triangle(x: Features) -> Features:
    return np.asarray(np.linalg.qr(x, mode="r"), dtype=np.float64)


def _statistics(features: Features) -> tuple[Features, Features]:
    return features.mean(0), np.cov(features, rowvar=False)


def _fid_by_scipy(real: Features, fake: Features) -> float:
    from scipy.linalg import sqrtm

    real_mean, real_covariance = _statistics(real)
    fake_mean, fake_covariance = _statistics(fake)
    root = sqrtm(real_covariance @ fake_covariance)
    difference = real_mean - fake_mean
    traces = np.trace(real_covariance) + np.trace(fake_covariance) - 2 * np.trace(root).real
    return float(difference @ difference + traces)


def _fid_by_torch_fidelity(real: Features, fake: Features) -> float:
    from torch_fidelity import metric_fid

    real_statistics, fake_statistics = (
        metric_fid.fid_features_to_statistics(torch.from_numpy(features))
        for features in (real, fake)
    )
    metrics = metric_fid.fid_statistics_to_metric(real_statistics, fake_statistics, verbose=False)
    return float(metrics["frechet_inception_distance"])


def _fid_by_torchmetrics(real: Features, fake: Features) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = FrechetInceptionDistance(nn.Identity(), input_img_size=(N_DIMENSIONS,))  # type: ignore[arg-type]
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
        return float(metric.compute())


def _make_pictures() -> tuple[Tensor, Tensor]:
    """Makes fakes and targets, [N, 3, px, px] in [0, 1] each."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(N_PICTURES, 3, PX, PX, generator=generator)
    noise = 0.1 * torch.randn(targets.shape, generator=generator)
    return (targets + noise).clamp(0, 1), targets


PixelMetric = Callable[[Tensor, Tensor], Tensor]


def _pixel_metrics() -> Sequence[tuple[str, Sequence[int], PixelMetric, PixelMetric]]:
    """Returns (name, batch sizes, our metric, torchmetrics's metric) of each pixel metric.

    torchmetrics's SSIM needs too much memory for all pictures in one call.
    """
    from torchmetrics.functional import image

    def torchmetrics_psnr(fakes: Tensor, targets: Tensor) -> Tensor:
        return image.peak_signal_noise_ratio(fakes, targets, 1.0, reduction="none", dim=(1, 2, 3))

    def torchmetrics_ssim(fakes: Tensor, targets: Tensor) -> Tensor:
        values = image.structural_similarity_index_measure(
            fakes, targets, data_range=1.0, reduction="none"
        )
        assert isinstance(values, Tensor)
        return values

    return (
        ("PSNR", (N_PICTURES, BATCH), pixel.psnr, torchmetrics_psnr),
        ("SSIM", (BATCH, 4), pixel.ssim, torchmetrics_ssim),
    )


def _mean_in_batches(metric: PixelMetric, fakes: Tensor, targets: Tensor, batch: int) -> float:
    batches = zip(torch.split(fakes, batch), torch.split(targets, batch), strict=True)
    values = [metric(batch_fakes, batch_targets) for batch_fakes, batch_targets in batches]
    return float(torch.cat(values).mean())
