"""A study -> its comparison: means, intervals, differences, ranks. Torch-free.

Two or more seeds: the seed is the unit, with a t-interval of the mean and paired differences of
runs that share a seed. One seed: random halves of the pictures, which speak of these weights only.
Values whose protocols differ are never compared.
"""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.config import REPORTED_SPLIT
from engine.metrics import intervals
from engine.metrics.catalog import CATALOG, COMPARED, COSTS, QUALITY
from engine.records.comparison import Cell, Comparison, Contrast, Row
from engine.records.curves import MetricPoint
from engine.records.runs import Evaluation, Run, RunState, Study
from engine.report import significance
from engine.store import Store

ABOUT_UNIT = {
    "seeds": "± is half of a 95 % interval over seeds (Student's t); differences are those of runs "
    "with the same seed.",
    "pictures": "± is half of a 95 % interval over the test pictures: these weights only; run with "
    "`--seeds 3` to find out how far another training differs. Differences are taken on the same "
    "pictures.",
}
EPOCH_COSTS = ("images_per_second", "epoch_seconds", "peak_memory_mb")


Spent = dict[tuple[int, str], list[float]]  # (run, cost) -> its values, epoch by epoch


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
    """The comparison from its records; configurations in the order of their first runs.

    Only runs that ended `done` count: one that was cut short was given less.
    """
    names = list(dict.fromkeys(run.configuration for run in runs))
    finished = [run for run in runs if run.state == RunState.DONE]
    members = {name: [run for run in finished if run.configuration == name] for name in names}
    measured = _Measured.of(finished, evaluations)
    unit = "seeds" if max(map(len, members.values()), default=0) > 1 else "pictures"
    cells: dict[str, dict[str, Cell]] = {name: {} for name in names}
    tested: list[Contrast] = []
    machine = _usual([_machine(run) for run in finished])
    spent: Spent = {}
    for point in costs:
        if point.value:
            spent.setdefault((point.run_id, point.name), []).append(point.value)
    for metric in COMPARED:
        if metric in COSTS:
            column = {
                name: _cost_cell(members[name], metric, measured, spent, machine) for name in names
            }
        else:
            usual = _usual([protocol_key(it) for it in measured.values_of(metric)])
            column = {name: _cell(members[name], metric, measured, usual, unit) for name in names}
            if metric in QUALITY and CATALOG[metric].better != "none":
                halves = {name: _halves(members[name], metric, measured) for name in names}
                found = significance.build_contrasts(metric, column, halves, unit)
                tested += found
                column = significance.ranked(column, metric, found)
        for name, cell in column.items():
            cells[name][metric] = cell
    totals = Counter(run.configuration for run in runs)
    rows = tuple(Row(name, len(members[name]), totals[name], cells[name]) for name in names)
    notes = _notes(study, runs, unit, finished)
    return Comparison(study, COMPARED, rows, unit, tuple(tested), notes)


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

    def values_of(self, metric: str) -> list[Evaluation]:
        """The evaluations of chosen checkpoints that gave a value of a metric."""
        return [
            it for (_, name), it in self.chosen.items() if name == metric and it.value is not None
        ]


def _usual(keys: Sequence[str]) -> str | None:
    """What most have, the first of equals."""
    return Counter(keys).most_common(1)[0][0] if keys else None


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
    # Of seeds that were measured differently only those count that agree with most others.
    own = next(iter(known.values()))
    key = usual if any(protocol_key(it) == usual for it in known.values()) else protocol_key(own)
    used = {seed: it for seed, it in known.items() if protocol_key(it) == key}
    odd = next((it for seed, it in known.items() if seed not in used), None)
    by_seed = {seed: it.value for seed, it in used.items() if it.value is not None}
    first = next(iter(used.values()))
    interval = intervals.mean_interval(list(by_seed.values()))
    if len(by_seed) == 1 and unit == "pictures":
        interval = intervals.Interval(interval.mean, first.low, first.high)
    remarks = [(it.missing or it.note) for it in found.values()]
    remarks += [_judged_by_a_relative(runs, first)] * len(found)
    if odd is not None:
        why = f"left out, other protocol: {_deviation(odd, first)}"
        remarks += [why] * (len(known) - len(used))
    reference = next((it for it in measured.values_of(metric) if protocol_key(it) == usual), first)
    lasts = [
        it.value
        for run in runs
        if run.seed in used and (it := measured.last.get((run.id, metric))) and it.value is not None
    ]
    return Cell(
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        n_seeds=len(by_seed),
        n_pictures=first.n_pictures,
        best_epoch=first.epoch,
        last=intervals.mean_interval(lasts).mean if len(lasts) == len(used) else None,
        reference=first.reference,
        mark=_said(remarks, len(found)),
        incomparable=None if key == usual else f"other protocol: {_deviation(first, reference)}",
        protocol=first.protocol,
        by_seed=by_seed,
        epochs={seed: it.epoch for seed, it in used.items()},
    )


def _said(remarks: Sequence[str | None], n_seeds: int) -> str | None:
    """Remarks of single seeds, each once, with how many seeds it is of where not of all."""
    counted = Counter(it for it in remarks if it)
    texts = [
        text if count == n_seeds else f"{count} of {n_seeds} seeds: {text}"
        for text, count in counted.items()
    ]
    return "; ".join(texts) or None


def _deviation(evaluation: Evaluation, usual: Evaluation) -> str:
    """In which parts a protocol differs from another, in words."""
    mine, theirs = evaluation.protocol, usual.protocol
    parts = [
        f"{key.replace('_', ' ')} {mine.get(key)}, not {theirs.get(key)}"
        for key in sorted({*theirs, *mine})
        if theirs.get(key) != mine.get(key)
    ]
    return "; ".join(parts)


def _judged_by_a_relative(runs: Sequence[Run], evaluation: Evaluation) -> str | None:
    """What to know where a run was trained against its judge, or against the same kind."""
    judge = str(evaluation.protocol.get("extractor", ""))
    for teacher in {it.resolved.execution.perceptual_features for it in runs if it.resolved}:
        if teacher == judge:
            return f"trained against its own judge, {judge}"
        if judge and teacher.rpartition("_")[0] == judge.rpartition("_")[0] != "":
            return f"trained against {teacher}, a close relative of its judge"
    return None


def _halves(runs: Sequence[Run], metric: str, measured: _Measured) -> intervals.Array | None:
    """What a configuration's only seed gave on random halves of the pictures."""
    found = [it for run in runs if (it := measured.chosen.get((run.id, metric)))]
    if len(found) != 1 or found[0].halves is None:
        return None
    return np.frombuffer(found[0].halves, "<f4").astype(np.float64)


def _machine(run: Run) -> str:
    """Where and how a run was computed, as far as it decides what things cost."""
    environment, execution = run.environment or {}, (run.resolved or run.config).execution
    parts = (environment.get("device"), environment.get("cpu"), f"{execution.threads} threads")
    return ", ".join(str(it) for it in (*parts, execution.precision) if it)


def _cost_cell(
    runs: Sequence[Run],
    metric: str,
    measured: _Measured,
    spent: Spent,
    machine: str | None,
) -> Cell:
    """What it takes, mean over seeds: of training from the epochs, of use as it was measured."""
    by_seed: dict[int, float] = {}
    evaluated = {run.seed: it for run in runs if (it := measured.chosen.get((run.id, metric)))}
    name = "epoch_seconds" if metric == "training_seconds" else metric
    for run in runs:
        values = spent.get((run.id, name), [])
        if values and metric == "training_seconds":
            by_seed[run.seed] = sum(values)
        elif values:
            by_seed[run.seed] = max(values) if metric.endswith("_mb") else statistics.median(values)
        elif (it := evaluated.get(run.seed)) is not None and it.value is not None:
            by_seed[run.seed] = it.value
    if not by_seed:
        reason = next((it.missing for it in evaluated.values() if it.missing), "not measured yet")
        return Cell(None, missing=reason)
    others = sorted({_machine(run) for run in runs} - {machine})
    note = next((it.note for it in evaluated.values()), None) if len(by_seed) == 1 else None
    return Cell(
        value=statistics.fmean(by_seed.values()),
        n_seeds=len(by_seed),
        mark=note,
        incomparable=f"other machine: {others[0]}, not {machine}" if others else None,
        protocol=next((it.protocol for it in evaluated.values()), {}),
        by_seed=by_seed,
    )


def _notes(
    study: Study, runs: Sequence[Run], unit: str, finished: Sequence[Run]
) -> tuple[str, ...]:
    notes = []
    if finished:
        chooser = CATALOG[study.budget.choose_by]
        notes.append(
            f"Values are of the checkpoint with the best {chooser.label} on the validation split; "
            "“last” is the last epoch's."
            if len(study.budget.evaluated_epochs) > 1
            else "Values are of the last epoch's checkpoint."
        )
        notes.append(
            f"{ABOUT_UNIT[unit]} So ± may overlap where a difference is clear. Ranks follow from "
            "the differences that are clear at 5 % after Holm's correction for the number of "
            "pairs; =1 is shared, and where nobody is clearly better there is none."
        )
    unfinished = [run for run in runs if run.state != RunState.DONE]
    if unfinished:
        states = ", ".join(
            f"{sum(run.state == state for run in unfinished)} {state}"
            for state in dict.fromkeys(run.state for run in unfinished)
        )
        notes.append(f"Of {len(runs)} runs, {states}: the table holds the others.")
    return tuple(notes)
