"""Best, worst and typical pictures of a study, by their scores. Torch-free.

A failure case is a picture on which the models did badly, found among all pictures of the split:
not the first of a loader, and not a rule on the losses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.config import REPORTED_SPLIT, source_label
from engine.data.packing import is_packed, load_packed
from engine.data.pairs import split_pixels
from engine.data.sources.registry import read_source
from engine.errors import EngineError
from engine.images.grids import Pictures
from engine.metrics.catalog import CATALOG
from engine.records.runs import ImageScore, Predictions, Run, RunState, Study
from engine.settings import Settings
from engine.store import Store

Which = Literal["worst", "best", "typical"]


@dataclass(frozen=True)
class Cases:
    """Some pictures of the reported split, and what each configuration made of them.

    Attributes:
        metric: what they were chosen by.
        source_label: what the models were given: `sketch` or `grey`.
        names: [K] of the pairs.
        source, target: [K, px, px, 3] bytes.
        fakes: likewise, by configuration: the first seed's, from the chosen checkpoint.
        scores: [K] by configuration; None where a picture has no value.
    """

    metric: str
    source_label: str
    names: tuple[str, ...]
    source: Pictures
    target: Pictures
    fakes: Mapping[str, Pictures]
    scores: Mapping[str, tuple[float | None, ...]]


def judged_metrics() -> tuple[str, ...]:
    """The metrics by which pictures can be chosen: those that each picture has and a direction."""
    names = ("psnr", "ssim", "mse", "mae", "delta_e", "colorfulness_gap")
    assert all(CATALOG[name].better != "none" for name in names)
    return names


def load_cases(
    store: Store,
    settings: Settings,
    study: Study,
    metric: str,
    which: Which,
    count: int,
    by: str | None = None,
) -> Cases | None:
    """Chooses pictures by a metric and reads them; None before any run has been evaluated.

    Args:
        store: where scores are.
        settings: where pictures lie.
        study: whose.
        metric: one of `judged_metrics`.
        which: the worst, the best, or those nearest the median.
        count: how many, at most.
        by: judge by this configuration alone; None: by the mean of all.

    Raises:
        EngineError: the pictures are not where they were, or are others by now.
    """
    chosen = _first_runs(store.read_runs(study.id))
    fakes = chosen_predictions(store, list(chosen.values()))
    chosen = {name: run for name, run in chosen.items() if run.id in fakes}
    if not chosen:
        return None
    ids = [run.id for run in chosen.values()]
    table = _score_table(store.read_scores(ids, REPORTED_SPLIT, [metric]), chosen, fakes)
    judges = [by] if by in table else list(table)
    names = choose({name: table[name] for name in judges}, metric, which, count)
    environment = next(iter(chosen.values())).environment
    source, target = read_pairs(study, environment, names, settings)
    return Cases(
        metric=metric,
        source_label=source_label(study.data),
        names=names,
        source=source,
        target=target,
        fakes={
            name: read_fakes(fakes[run.id], names, study.budget.px, settings)
            for name, run in chosen.items()
        },
        scores={name: tuple(scores.get(it) for it in names) for name, scores in table.items()},
    )


def _first_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """The finished run of the lowest seed of each configuration."""
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda it: (it.seed, it.id)):
        if run.state == RunState.DONE:
            found.setdefault(run.configuration, run)
    order = dict.fromkeys(run.configuration for run in runs)
    return {name: found[name] for name in order if name in found}


def chosen_predictions(store: Store, runs: Sequence[Run]) -> dict[int, Predictions]:
    """Run -> where what its chosen checkpoint made of the split lies, of those that have it."""
    best = {run.id: run.best_epoch for run in runs}
    kept = store.read_predictions(list(best), REPORTED_SPLIT)
    return {it.run_id: it for it in kept if it.epoch == best[it.run_id]}


def _score_table(
    scores: Sequence[ImageScore], chosen: Mapping[str, Run], fakes: Mapping[int, Predictions]
) -> dict[str, dict[str, float | None]]:
    """Configuration -> picture -> score, of the chosen checkpoints."""
    names = {run.id: name for name, run in chosen.items()}
    table: dict[str, dict[str, float | None]] = {name: {} for name in chosen}
    for it in scores:
        if it.epoch == fakes[it.run_id].epoch:
            table[names[it.run_id]][it.picture] = it.value
    return table


def choose(
    table: Mapping[str, Mapping[str, float | None]], metric: str, which: Which, count: int | None
) -> tuple[str, ...]:
    """The pictures, worst or best first; ties by name. `count`: at most so many, None: all."""
    pictures = list(dict.fromkeys(picture for scores in table.values() for picture in scores))
    means = {}
    for picture in pictures:
        known = [value for it in table.values() if (value := it.get(picture)) is not None]
        if known:
            means[picture] = float(np.mean(known))
    sign = 1 if CATALOG[metric].better == "up" else -1
    ranked = sorted(means, key=lambda picture: (sign * means[picture], picture))  # worst first
    if which == "best":
        ranked.reverse()
    elif which == "typical" and count is not None:
        start = max(0, (len(ranked) - count) // 2)
        ranked = ranked[start:]
    return tuple(ranked[:count])


def read_pairs(
    study: Study, environment: Mapping[str, Any] | None, names: Sequence[str], settings: Settings
) -> tuple[Pictures, Pictures]:
    """Sources and targets of some pairs, [K, px, px, 3] bytes each, as the runs saw them."""
    source, px = read_source(study.data, settings), study.budget.px
    if not is_packed(source, px, settings):
        raise EngineError(
            f"The pairs of {study.data} at {px} px are no longer packed; "
            f"`python -m engine data prepare {study.data} --size {px}` brings them back."
        )
    packed = load_packed(source, px, settings)
    packed.require(environment)
    positions = {pair.name: index for index, pair in enumerate(packed.pairs)}
    if gone := [name for name in names if name not in positions]:
        raise EngineError(f"The pair {gone[0]} is no longer in {study.data}: the data has changed.")
    return split_pixels(packed.pixels[[positions[name] for name in names]])


def read_fakes(kept: Predictions, names: Sequence[str], px: int, settings: Settings) -> Pictures:
    """What a checkpoint made of some pairs, [K, px, px, 3] bytes."""
    path = settings.artifacts / kept.path
    positions = {name: index for index, name in enumerate(kept.names)}
    again = f"`python -m engine evaluate {kept.run_id}` makes them again."
    try:
        every: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EngineError(
            f"The pictures of run {kept.run_id} cannot be read ({reason}); {again}"
        ) from error
    if every.shape != (len(kept.names), px, px, 3) or not set(names) <= set(positions):
        raise EngineError(
            f"The pictures of run {kept.run_id} cannot be read (they are others by now); {again}"
        )
    return np.array(every[[positions[name] for name in names]])
