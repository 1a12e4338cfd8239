"""A study -> its comparison: means, intervals, differences, ranks. Torch-free.

Two or more seeds: the seed is the unit, with a t-interval of the mean and paired differences of
runs that share a seed. One seed: random halves of the pictures, which speak of these weights only.
Values whose protocols differ are never compared.
"""

import itertools
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.metrics import intervals
from engine.metrics.catalog import CATALOG, COMPARED, COSTS, QUALITY
from engine.records import (
    Cell,
    Comparison,
    Contrast,
    Evaluation,
    MetricPoint,
    Row,
    Run,
    RunState,
    Study,
)
from engine.store import Store

REPORTED_SPLIT = "test"
EPOCH_COSTS = ("images_per_second", "epoch_seconds", "peak_memory_mb")


def compare(store: Store, study_id: int) -> Comparison:
    """The comparison of a study as it stands now."""
    study, runs = store.read_study(study_id), store.read_runs(study_id)
    ids = [run.id for run in runs]
    evaluations = store.read_evaluations(ids, REPORTED_SPLIT)
    return build_comparison(study, runs, evaluations, store.read_metrics(ids, names=EPOCH_COSTS))


def build_comparison(
    study: Study,
    runs: Sequence[Run],
    evaluations: Sequence[Evaluation],
    costs: Sequence[MetricPoint],
) -> Comparison:
    """The comparison from its records; configurations in the order of their first runs."""
    names = list(dict.fromkeys(run.configuration for run in runs))
    members = {name: [run for run in runs if run.configuration == name] for name in names}
    measured = _Measured.of(runs, evaluations)
    done = {name: sum(it.state == RunState.DONE for it in members[name]) for name in names}
    unit = "seeds" if max(done.values(), default=0) > 1 else "pictures"
    cells: dict[str, dict[str, Cell]] = {name: {} for name in names}
    contrasts: list[Contrast] = []
    for metric in COMPARED:
        if metric in COSTS:
            column = [_cost_cell(members[name], metric, measured, costs) for name in names]
        else:
            usual = measured.usual_protocol(metric)
            column = [_cell(members[name], metric, measured, usual, unit) for name in names]
            if metric in QUALITY and CATALOG[metric].better != "none":
                named = dict(zip(names, column, strict=True))
                halves = {name: _halves(members[name], metric, measured) for name in names}
                found = _contrasts(metric, named, halves, unit)
                contrasts += found
                column = _ranked(named, metric, found)
        for name, cell in zip(names, column, strict=True):
            cells[name][metric] = cell
    rows = tuple(Row(name, done[name], len(members[name]), cells[name]) for name in names)
    notes = _notes(runs, unit, done)
    return Comparison(study, COMPARED, rows, unit, tuple(contrasts), notes)


@dataclass(frozen=True)
class _Measured:
    """Evaluations by what they are of: (run, metric), of the chosen and of the last checkpoint."""

    chosen: Mapping[tuple[int, str], Evaluation]
    last: Mapping[tuple[int, str], Evaluation]

    @classmethod
    def of(cls, runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> "_Measured":
        newest: dict[int, int] = {}
        for it in evaluations:
            newest[it.run_id] = max(it.epoch, newest.get(it.run_id, 0))
        best = {run.id: run.best_epoch or newest.get(run.id) for run in runs}
        return cls(
            {(it.run_id, it.name): it for it in evaluations if it.epoch == best.get(it.run_id)},
            {(it.run_id, it.name): it for it in evaluations if it.epoch == newest[it.run_id]},
        )

    def usual_protocol(self, metric: str) -> str | None:
        """The protocol that most values of a metric have, the first of equals."""
        found = [
            protocol_key(it)
            for (_, name), it in self.chosen.items()
            if name == metric and it.value is not None
        ]
        return Counter(found).most_common(1)[0][0] if found else None


def protocol_key(evaluation: Evaluation) -> str:
    """What must be equal for two values to be compared."""
    return json.dumps(dict(evaluation.protocol), sort_keys=True, default=str)


def _cell(
    runs: Sequence[Run], metric: str, measured: _Measured, usual: str | None, unit: str
) -> Cell:
    found = {run.seed: it for run in runs if (it := measured.chosen.get((run.id, metric)))}
    known = {seed: it for seed, it in found.items() if it.value is not None}
    if not known:
        reason = next((it.missing for it in found.values() if it.missing), "not evaluated yet")
        return Cell(None, missing=reason)
    alike = {seed: it for seed, it in known.items() if protocol_key(it) == usual}
    incomparable, used = None, alike or known
    if len(alike) < len(known):
        odd = next(it for seed, it in known.items() if seed not in alike)
        incomparable = f"other protocol: {_deviation(odd, json.loads(usual or '{}'))}"
    by_seed = {seed: it.value for seed, it in used.items() if it.value is not None}
    first = next(iter(used.values()))
    interval = intervals.mean_interval(list(by_seed.values()))
    if len(by_seed) == 1 and unit == "pictures":
        interval = intervals.Interval(interval.mean, first.low, first.high)
    marks = [first.note, _judged_by_its_teacher(runs, first)]
    if alike and incomparable:
        marks.append(f"{len(known) - len(alike)} of {len(known)} seeds left out ({incomparable})")
        incomparable = None
    lasts = [it.value for run in runs if (it := measured.last.get((run.id, metric)))]
    values = [value for value in lasts if value is not None]
    return Cell(
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        n_seeds=len(by_seed),
        n_pictures=first.n_pictures,
        best_epoch=first.epoch,
        last=statistics.fmean(values) if values else None,
        reference=first.reference,
        mark="; ".join(filter(None, marks)) or None,
        incomparable=incomparable,
        protocol=first.protocol,
        by_seed=by_seed,
    )


def _deviation(evaluation: Evaluation, usual: Mapping[str, object]) -> str:
    """In which parts a protocol differs, in words."""
    parts = [
        f"{key} {evaluation.protocol.get(key)}, not {usual.get(key)}"
        for key in sorted({*usual, *evaluation.protocol})
        if usual.get(key) != evaluation.protocol.get(key)
    ]
    return "; ".join(parts)


def _judged_by_its_teacher(runs: Sequence[Run], evaluation: Evaluation) -> str | None:
    teachers = {run.resolved.execution.perceptual_features for run in runs if run.resolved}
    if evaluation.protocol.get("extractor") in teachers:
        return "judged by a network it was trained against"
    return None


def _contrasts(
    metric: str,
    column: Mapping[str, Cell],
    halves: Mapping[str, intervals.Array | None],
    unit: str,
) -> list[Contrast]:
    """Every pair of comparable configurations that can be tested."""
    comparable = {
        name: cell
        for name, cell in column.items()
        if cell.value is not None and cell.incomparable is None
    }
    found = []
    for (one, a), (other, b) in itertools.combinations(comparable.items(), 2):
        if unit == "seeds":
            shared = sorted(set(a.by_seed) & set(b.by_seed))
            n = len(shared)
            difference = intervals.paired_difference(
                [a.by_seed[seed] for seed in shared], [b.by_seed[seed] for seed in shared]
            )
        else:
            mine, theirs = halves[one], halves[other]
            if mine is None or theirs is None or len(mine) != len(theirs):
                continue
            n = len(mine)
            means = (a.value or 0.0, b.value or 0.0)
            difference = intervals.sampled_difference(*means, mine, theirs)
        if difference is not None:
            mean, low, high, p = difference.mean, difference.low, difference.high, difference.p
            found.append(Contrast(metric, one, other, mean, low, high, p, p, unit, n))
    adjusted = intervals.holm([it.p for it in found])
    return [replace(it, p_holm=p) for it, p in zip(found, adjusted, strict=True)]


def _halves(runs: Sequence[Run], metric: str, measured: _Measured) -> intervals.Array | None:
    """What the one seed that was evaluated gave on random halves of the pictures."""
    found = [it for run in runs if (it := measured.chosen.get((run.id, metric)))]
    kept = [it.halves for it in found if it.halves is not None]
    return np.frombuffer(kept[0], "<f4").astype(np.float64) if kept else None


def _ranked(column: Mapping[str, Cell], metric: str, contrasts: Sequence[Contrast]) -> list[Cell]:
    """The cells with their ranks: one more than the number of those that are clearly better.

    No rank where not every pair of comparable cells could be tested.
    """
    comparable = [
        name
        for name, cell in column.items()
        if cell.value is not None and cell.incomparable is None
    ]
    if len(comparable) < 2 or len(contrasts) < len(comparable) * (len(comparable) - 1) / 2:
        return list(column.values())
    sign = 1 if CATALOG[metric].better == "up" else -1
    losses = Counter(it.other if sign * it.mean > 0 else it.one for it in contrasts if it.is_clear)
    return [
        replace(cell, rank=1 + losses[name]) if name in comparable else cell
        for name, cell in column.items()
    ]


def _cost_cell(
    runs: Sequence[Run], metric: str, measured: _Measured, points: Sequence[MetricPoint]
) -> Cell:
    """What it takes, mean over seeds: of training from the epochs, of use as it was measured."""
    by_seed: dict[int, float] = {}
    evaluated = [it for run in runs if (it := measured.chosen.get((run.id, metric)))]
    for run in runs:
        name = "epoch_seconds" if metric == "training_seconds" else metric
        values = [it.value for it in points if it.run_id == run.id and it.name == name and it.value]
        if metric == "training_seconds" and len(values) == run.epochs:
            by_seed[run.seed] = sum(values)
        elif metric in ("images_per_second", "epoch_seconds") and values:
            by_seed[run.seed] = statistics.median(values)
        elif metric == "peak_memory_mb" and values:
            by_seed[run.seed] = max(values)
        elif (it := measured.chosen.get((run.id, metric))) and it.value is not None:
            by_seed[run.seed] = it.value
    if not by_seed:
        reason = next((it.missing for it in evaluated if it.missing), "not measured yet")
        return Cell(None, missing=reason)
    first = evaluated[0] if evaluated else None
    return Cell(
        value=statistics.fmean(by_seed.values()),
        n_seeds=len(by_seed),
        mark=first.note if first else None,
        protocol=first.protocol if first else {},
        by_seed=by_seed,
    )


def _notes(runs: Sequence[Run], unit: str, done: Mapping[str, int]) -> tuple[str, ...]:
    notes = []
    if any(done.values()):
        notes.append(
            "± is half of a 95 % interval over seeds (Student's t). Ranks come from paired "
            "differences of runs with the same seed, corrected for the number of pairs (Holm, "
            "5 %); what does not differ clearly shares a rank."
            if unit == "seeds"
            else "± is half of a 95 % interval over the test pictures: these weights only. Ranks "
            "come from differences on the same random halves of the pictures, corrected for the "
            "number of pairs (Holm, 5 %). Another seed may differ by more; `--seeds 3` tells."
        )
    unfinished = [run for run in runs if run.state != RunState.DONE]
    if unfinished:
        states = ", ".join(
            f"{sum(run.state == state for run in unfinished)} {state}"
            for state in dict.fromkeys(run.state for run in unfinished)
        )
        notes.append(f"Of {len(runs)} runs, {states}: the table holds the others.")
    return tuple(notes)
