"""Chooses the best, worst or typical images of a study by their scores. Torch-free.

The images are chosen from all images of the reported split, by a metric of single images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.config import REPORTED_SPLIT, source_label
from engine.data.packing import is_packed, load_packed
from engine.data.pairs import split_channels
from engine.data.sources.registry import parse_source
from engine.errors import EngineError
from engine.images.grids import ImageArray
from engine.metrics.catalog import CATALOG
from engine.records.runs import ImageScore, Predictions, Run, RunState, Study
from engine.settings import PROGRAM, Settings
from engine.store import Store

CaseKind = Literal["worst", "best", "typical"]


@dataclass(frozen=True)
class Cases:
    """Some images of the reported split, with the fakes of each configuration.

    Attributes:
        metric: the metric that the images were chosen by.
        source_label: the kind of the sources: `sketch` or `grey`.
        names: the names of the K pairs.
        source, target: [K, px, px, 3] uint8.
        fakes: configuration -> [K, px, px, 3] uint8, from the first seed's chosen checkpoint.
        scores: configuration -> K values of the metric; None for an image without a value.
    """

    metric: str
    source_label: str
    names: tuple[str, ...]
    source: ImageArray
    target: ImageArray
    fakes: Mapping[str, ImageArray]
    scores: Mapping[str, tuple[float | None, ...]]


def load_cases(
    store: Store,
    settings: Settings,
    study: Study,
    metric: str,
    kind: CaseKind,
    count: int,
    by_configuration: str | None = None,
) -> Cases | None:
    """Chooses images by a metric and loads these images.

    Args:
        store: the store with the scores.
        settings: the locations of the images.
        study: the study.
        metric: one of `catalog.PER_IMAGE_METRICS`.
        kind: the worst images, the best, or those around the median.
        count: the maximum number of images.
        by_configuration: the configuration whose scores decide; None: the mean scores of all
            configurations decide.

    Returns:
        The images; None if no finished run has saved fakes yet.

    Raises:
        EngineError: the images are missing, or were changed after the evaluation.
    """
    runs = _first_runs(store.runs.read_all(study.id))
    predictions = read_chosen_predictions(store, list(runs.values()))
    runs = {name: run for name, run in runs.items() if run.id in predictions}
    if not runs:
        return None
    ids = [run.id for run in runs.values()]
    scores = store.evaluations.read_scores(ids, REPORTED_SPLIT, [metric])
    table = _score_table(scores, runs, predictions)
    deciding = [by_configuration] if by_configuration in table else list(table)
    names = rank_images({name: table[name] for name in deciding}, metric, kind, count)
    environment = next(iter(runs.values())).environment
    source, target = load_pairs(study, environment, names, settings)
    return Cases(
        metric=metric,
        source_label=source_label(study.data),
        names=names,
        source=source,
        target=target,
        fakes={
            configuration: load_fakes(predictions[run.id], names, study.budget.px, settings)
            for configuration, run in runs.items()
        },
        scores={
            configuration: tuple(by_name.get(name) for name in names)
            for configuration, by_name in table.items()
        },
    )


def _first_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """Returns configuration -> its finished run with the lowest seed, in the given order."""
    first: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.id)):
        if run.state == RunState.DONE:
            first.setdefault(run.configuration, run)
    order = dict.fromkeys(run.configuration for run in runs)
    return {name: first[name] for name in order if name in first}


def read_chosen_predictions(store: Store, runs: Sequence[Run]) -> dict[int, Predictions]:
    """Returns run id -> record of the saved fakes of the run's chosen checkpoint.

    Runs without saved fakes are left out.
    """
    best_epochs = {run.id: run.best_epoch for run in runs}
    predictions = store.evaluations.read_predictions(list(best_epochs), REPORTED_SPLIT)
    return {each.run_id: each for each in predictions if each.epoch == best_epochs[each.run_id]}


def _score_table(
    scores: Sequence[ImageScore], runs: Mapping[str, Run], predictions: Mapping[int, Predictions]
) -> dict[str, dict[str, float | None]]:
    """Returns configuration -> image name -> score of the chosen checkpoint."""
    configurations = {run.id: name for name, run in runs.items()}
    table: dict[str, dict[str, float | None]] = {name: {} for name in runs}
    for score in scores:
        if score.epoch == predictions[score.run_id].epoch:
            table[configurations[score.run_id]][score.picture] = score.value
    return table


def rank_images(
    table: Mapping[str, Mapping[str, float | None]], metric: str, kind: CaseKind, count: int | None
) -> tuple[str, ...]:
    """Orders images by their mean score.

    Args:
        table: configuration or run -> image name -> score.
        metric: the metric of the scores.
        kind: `worst` and `best` begin with the worst or best image; `typical` returns the images
            around the median, from the worst to the best.
        count: the maximum number of images; None: all.

    Returns:
        The names; equal scores are in the order of the names. Images without a score are left out.
    """
    images = list(dict.fromkeys(image for scores in table.values() for image in scores))
    means = {}
    for image in images:
        values = [score for scores in table.values() if (score := scores.get(image)) is not None]
        if values:
            means[image] = float(np.mean(values))
    sign = 1 if CATALOG[metric].better == "up" else -1
    ranked = sorted(means, key=lambda image: (sign * means[image], image))  # worst first
    if kind == "best":
        ranked.reverse()
    elif kind == "typical" and count is not None:
        start = max(0, (len(ranked) - count) // 2)
        ranked = ranked[start:]
    return tuple(ranked[:count])


def load_pairs(
    study: Study, environment: Mapping[str, Any] | None, names: Sequence[str], settings: Settings
) -> tuple[ImageArray, ImageArray]:
    """Loads the sources and targets of some pairs from the packed data of the runs.

    Args:
        study: the study.
        environment: the environment of a run, whose data fingerprint is checked; None: no check.
        names: the names of the K pairs.
        settings: the locations of the data.

    Returns:
        (sources, targets), each [K, px, px, 3] uint8.

    Raises:
        EngineError: the data is no longer packed, or has changed since the run.
    """
    source, px = parse_source(study.data, settings), study.budget.px
    if not is_packed(source, px, settings):
        raise EngineError(
            f"The pairs of {study.data} at {px} px are no longer packed; "
            f"`{PROGRAM} data prepare {study.data} --size {px}` packs them again."
        )
    packed = load_packed(source, px, settings)
    packed.require_unchanged(environment)
    positions = {pair.name: index for index, pair in enumerate(packed.pairs)}
    if absent := [name for name in names if name not in positions]:
        raise EngineError(
            f"The pair {absent[0]} is no longer in {study.data}: the data has changed."
        )
    return split_channels(packed.pixels[[positions[name] for name in names]])


def load_fakes(
    predictions: Predictions, names: Sequence[str], px: int, settings: Settings
) -> ImageArray:
    """Loads the fakes of some pairs -> [K, px, px, 3] uint8.

    Args:
        predictions: the record of the saved fakes.
        names: the names of the K pairs.
        px: the side length of the images.
        settings: the locations of the artifacts.

    Raises:
        EngineError: the file cannot be read, or does not contain these fakes.
    """
    path = settings.artifacts / predictions.path
    positions = {name: index for index, name in enumerate(predictions.names)}
    way_out = f"`{PROGRAM} evaluate {predictions.run_id}` generates them again."
    try:
        fakes: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EngineError(
            f"The pictures of run {predictions.run_id} cannot be read ({reason}); {way_out}"
        ) from error
    if fakes.shape != (len(predictions.names), px, px, 3) or not set(names) <= set(positions):
        raise EngineError(
            f"The pictures of run {predictions.run_id} cannot be read (their number or size has "
            f"changed); {way_out}"
        )
    return np.array(fakes[[positions[name] for name in names]])
