"""A generator and a split's pairs -> metric values, each with its protocol.

Pictures stream through: the generator makes a batch, every meter looks at it, and it is gone.
What has no honest value is not a number but the reason why.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine import weights
from engine.config import RunConfig
from engine.data.batches import PairSet, evaluation_batches
from engine.errors import MissingWeightsError, RefusedMetricError
from engine.evaluation import feature_extractors
from engine.evaluation.distance_meters import Distances, Family
from engine.evaluation.image_meters import Adversary, picture_meters
from engine.evaluation.sanity import Census
from engine.evaluation.values import SET_LIMIT, Batch, Meter, Missing, Value, absent
from engine.metrics import features
from engine.metrics.catalog import CATALOG
from engine.settings import Settings
from engine.training.step import autocast

BATCH = 16  # pictures at a time through the generator
SLACK = 1e-3  # how far outside [-1, 1] rounding may bring a generator's value

FAMILIES = (
    Family("fid", "kid", ("is_mean", "is_std"), "inception", feature_extractors.build_inception),
    Family("fd_lite2", "kd_lite2", (), "efficientnet_lite2", feature_extractors.build_lite2),
)


@dataclass(frozen=True)
class Judge:
    """A family of distances and its network, or why that is not here."""

    family: Family
    extractor: features.Extractor | None
    reason: str | None = None


@dataclass(frozen=True)
class Question:
    """Which pictures are judged: what every protocol of one evaluation has in common."""

    config: RunConfig
    split: str
    data_fingerprint: str

    def protocol(self, n_pictures: int) -> dict[str, Any]:
        """The common part of the protocol."""
        return {
            "data": self.config.data,
            "data_fingerprint": self.data_fingerprint,
            "split": self.split,
            "n_pictures": n_pictures,
            "px": self.config.budget.px,
            "pictures": "8-bit",
            "precision": self.config.execution.precision,
        }


def load_judges(settings: Settings, device: torch.device, asked: str = "all") -> list[Judge]:
    """The feature networks that are on this machine, and the reasons for those that are not.

    Args:
        settings: where weights are.
        device: where they compute.
        asked: `all`, `none`, or the name of one network's weights.
    """
    judges = []
    for family in FAMILIES:
        if asked not in ("all", family.weights):
            continue
        try:
            extractor = family.build(*weights.require(family.weights, settings), device)
            judges.append(Judge(family, extractor))
        except MissingWeightsError as absence:
            judges.append(Judge(family, None, str(absence)))
    return judges


def evaluate(
    question: Question,
    generator: nn.Module,
    pairs: PairSet,
    judges: Sequence[Judge],
    features_dir: Path,
    discriminator: nn.Module | None = None,
    keep: NDArray[np.uint8] | None = None,
    thorough: bool = True,
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Value]:
    """All metrics of a generator on a split.

    Args:
        question: what is judged.
        generator: in evaluation mode from here on.
        pairs: the split.
        judges: the feature networks.
        features_dir: where features of real splits are kept.
        discriminator: also asked, if it is given; in evaluation mode from here on.
        keep: [N, px, px, 3] bytes that the fakes are written into, for instance a memory map.
        thorough: also measure Frechet distances on random halves, which takes longest.
        on_progress: told the pictures done so far.

    Raises:
        RefusedMetricError: there are no pictures at all, or no target that could be judged by.
    """
    if not len(pairs):
        raise RefusedMetricError(f"the {question.split} split has no pictures to evaluate")
    protocol = question.protocol(len(pairs))
    census, meters = Census(), picture_meters()
    if discriminator is not None:
        meters.append(Adversary(discriminator))
    meters += [
        _distances(judge, question, pairs, census, features_dir, thorough) for judge in judges
    ]
    names = [name for meter in meters for name in meter.names]
    done = 0
    try:
        for batch in generate(question.config, generator, pairs):
            census.add(batch)
            for meter in meters:
                meter.add(batch)
            if keep is not None:
                keep[done : done + len(batch.source)] = as_arrays(batch.fake_bytes)
            done += len(batch.source)
            on_progress(done)
    except RefusedMetricError as refusal:
        return absent(names, protocol, str(refusal))
    if fault := census.fault("target"):
        raise RefusedMetricError(f"{fault}: nothing can be judged by them")
    values = [value for meter in meters for value in meter.values(protocol)]
    if fault := census.fault("generated"):
        values = [value.with_note(fault) for value in values]
    return [_possible(value) for value in values]


def _possible(value: Value) -> Value:
    """The value, or why there is none where it came out as no value of its metric can be."""
    if value.value is None or CATALOG[value.name].allows(value.value):
        return value
    reason = f"it came out as {value.value:g}, which is impossible: this is a fault of ours"
    return absent((value.name,), value.protocol, reason)[0]


@torch.no_grad()
def generate(config: RunConfig, generator: nn.Module, pairs: PairSet) -> Iterator[Batch]:
    """The generator's pictures for all sources, batch after batch.

    Raises:
        RefusedMetricError: the generator gives values that no picture has.
    """
    generator.eval()
    for source, target in evaluation_batches(pairs, BATCH):
        with features.exact_float32(), autocast(config, source.device.type):
            fake = generator(source).float()
        low, high = (float(value) for value in fake.aminmax())
        if not (low >= -1 - SLACK and high <= 1 + SLACK):
            raise RefusedMetricError(
                f"a generator's values must be in [-1, 1]; these reach from {low:.4g} to {high:.4g}"
            )
        yield Batch(source, target, fake, to_bytes(target), to_bytes(fake))


def predict(config: RunConfig, generator: nn.Module, pairs: PairSet) -> NDArray[np.uint8]:
    """The generator's pictures for a few sources: [N, px, px, 3] bytes."""
    return np.concatenate([as_arrays(it.fake_bytes) for it in generate(config, generator, pairs)])


def to_bytes(pictures: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded to the nearest."""
    return pictures.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def as_arrays(pictures: Tensor) -> NDArray[np.uint8]:
    """[N, 3, H, W] uint8 -> [N, H, W, 3] arrays on the CPU, for files and drawing."""
    arrays: NDArray[np.uint8] = pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return arrays


def _distances(
    judge: Judge,
    question: Question,
    pairs: PairSet,
    census: Census,
    features_dir: Path,
    thorough: bool,
) -> Meter:
    if judge.extractor is None:
        return Missing(judge.family.names, judge.reason or "")
    extractor = judge.extractor
    pictures = f"{question.data_fingerprint}-{question.split}-{question.config.budget.px}px"

    def load_real() -> NDArray[np.float32]:
        pixels = pairs.targets[:SET_LIMIT]
        targets = (it.permute(0, 3, 1, 2) for it in torch.split(pixels, BATCH))
        return features.load_or_compute(
            features_dir, pictures, len(pixels), extractor, lambda: targets
        )

    return Distances(judge.family, extractor, census, load_real, thorough)
