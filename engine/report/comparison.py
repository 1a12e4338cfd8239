"""Builds the comparison table of a study: means, intervals, differences and ranks. Torch-free.

The records of the table are in `records.comparison`. With two or more seeds, the intervals are
t-intervals over seeds, and differences are taken between runs with equal seeds. With one seed,
the intervals are over images (computed from random halves) and hold for these trained weights
only. Values with different protocols are never compared.
"""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.config import REPORTED_SPLIT
from engine.metrics import intervals
from engine.metrics.catalog import (
    CATALOG,
    COMPARED_METRICS,
    COST_METRICS,
    EPOCH_COST_METRICS,
    QUALITY_METRICS,
)
from engine.records.comparison import Cell, Comparison, Contrast, Row
from engine.records.curves import MetricPoint
from engine.records.runs import DECODING, Evaluation, Run, RunState, Study
from engine.report import significance
from engine.store import Store

UNIT_NOTES = {
    "seeds": "± is half of a 95 % interval over seeds (Student's t). Differences are taken between "
    "runs with the same seed.",
    "pictures": "± is half of a 95 % interval over the test pictures, for these weights only; run "
    "with `--seeds 3` to measure how much another training differs. Differences are taken on the "
    "same pictures.",
}
NOT_EVALUATED = "not evaluated yet"
NOT_MEASURED = "not measured yet"
# The first words of two remarks. The module `findings` searches for these words.
TRAINED_AGAINST, READS_WITH = "trained against", "reads its sources with"

EpochCosts = dict[tuple[int, str], list[float]]  # (run, cost metric) -> value of each epoch


def compare(store: Store, study_id: int) -> Comparison:
    """Builds the comparison of a study from the store."""
    study, runs = store.studies.read(study_id), store.runs.read_all(study_id)
    ids = [run.id for run in runs]
    evaluations = store.evaluations.read(ids, REPORTED_SPLIT)
    costs = store.curves.read(ids, names=EPOCH_COST_METRICS)
    return build_comparison(study, runs, evaluations, costs)


def build_comparison(
    study: Study,
    runs: Sequence[Run],
    evaluations: Sequence[Evaluation],
    costs: Sequence[MetricPoint],
) -> Comparison:
    """Builds the comparison from records.

    Only finished runs count, because a run that ended early had a smaller budget.

    Args:
        study: the study.
        runs: all runs of the study; the rows are in the order of each configuration's first run.
        evaluations: all evaluations of the runs on the reported split.
        costs: the points of `EPOCH_COST_METRICS` of the runs.
    """
    names = list(dict.fromkeys(run.configuration for run in runs))
    finished = [run for run in runs if run.state == RunState.DONE]
    finished_runs = {name: [run for run in finished if run.configuration == name] for name in names}
    index = _EvaluationIndex.of(finished, evaluations)
    unit = "seeds" if max(map(len, finished_runs.values()), default=0) > 1 else "pictures"
    epoch_costs: EpochCosts = {}
    for point in costs:
        if point.value:
            epoch_costs.setdefault((point.run_id, point.name), []).append(point.value)
    machine = _most_common([_machine_label(run) for run in finished])

    # Build the table by columns: tests and ranks need the values of all configurations.
    cells: dict[str, dict[str, Cell]] = {name: {} for name in names}
    contrasts: list[Contrast] = []
    for metric in COMPARED_METRICS:
        if metric in COST_METRICS:
            column = {
                name: _cost_cell(finished_runs[name], metric, index, epoch_costs, machine)
                for name in names
            }
        else:
            protocol = _most_common([protocol_key(each) for each in index.valued(metric)])
            column = {
                name: _quality_cell(finished_runs[name], metric, index, protocol, unit)
                for name in names
            }
            if metric in QUALITY_METRICS and CATALOG[metric].better != "none":
                halves = {name: _halves(finished_runs[name], metric, index) for name in names}
                tested = significance.build_contrasts(metric, column, halves, unit)
                contrasts += tested
                column = significance.add_ranks(column, metric, tested)
        for name, cell in column.items():
            cells[name][metric] = cell

    n_runs = Counter(run.configuration for run in runs)
    generators = {run.configuration: _generator_design(run) for run in runs}
    rows = tuple(
        Row(name, len(finished_runs[name]), n_runs[name], cells[name], generators[name])
        for name in names
    )
    notes = _notes(study, runs, unit, finished)
    return Comparison(study, COMPARED_METRICS, rows, unit, tuple(contrasts), notes)


def _generator_design(run: Run) -> str:
    """Identifies the parts of a generator in which configurations of a study may differ."""
    configuration = run.config.configuration
    output = configuration.output_at(run.config.budget)
    parts = (output.name, configuration.regions, configuration.source_features)
    return " ".join(map(str, (*parts, configuration.decoding) if output.has_palette else parts))


def protocol_key(evaluation: Evaluation) -> str:
    """Returns the protocol as text; values are comparable if the texts are equal.

    The decoding is left out: like the loss, it belongs to the configuration, not to the
    measurement.
    """
    protocol = {key: value for key, value in evaluation.protocol.items() if key != DECODING}
    return json.dumps(protocol, sort_keys=True, default=str)


@dataclass(frozen=True)
class _EvaluationIndex:
    """The evaluations of each run's chosen and last checkpoints, by (run, metric)."""

    chosen: Mapping[tuple[int, str], Evaluation]
    last: Mapping[tuple[int, str], Evaluation]

    @classmethod
    def of(cls, runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> "_EvaluationIndex":
        """Builds the index.

        If a run has no chosen checkpoint, the last evaluated checkpoint counts as chosen.
        """
        last_epoch: dict[int, int] = {}
        for each in evaluations:
            last_epoch[each.run_id] = max(each.epoch, last_epoch.get(each.run_id, 0))
        chosen_epoch = {run.id: run.best_epoch or last_epoch.get(run.id) for run in runs}
        chosen, last = {}, {}
        for each in evaluations:
            key = each.run_id, each.name
            if each.epoch == chosen_epoch.get(each.run_id):
                chosen[key] = each
            if each.epoch == last_epoch[each.run_id]:
                last[key] = each
        return cls(chosen, last)

    def valued(self, metric: str) -> list[Evaluation]:
        """Returns the evaluations of chosen checkpoints with a value of a metric."""
        return [
            each
            for (_, name), each in self.chosen.items()
            if name == metric and each.value is not None
        ]

    def by_seed(self, runs: Sequence[Run], metric: str) -> dict[int, Evaluation]:
        """Returns seed -> evaluation of the chosen checkpoint, for evaluated seeds."""
        return {run.seed: each for run in runs if (each := self.chosen.get((run.id, metric)))}


def _most_common(keys: Sequence[str]) -> str | None:
    """Returns the most frequent key (the first of equally frequent keys); None without keys."""
    return Counter(keys).most_common(1)[0][0] if keys else None


def _quality_cell(
    runs: Sequence[Run],
    metric: str,
    index: _EvaluationIndex,
    usual_protocol: str | None,
    unit: str,
) -> Cell:
    """Builds the cell of a metric that is measured by evaluations.

    Args:
        runs: the finished runs of the configuration.
        metric: the metric.
        index: the evaluations.
        usual_protocol: the protocol of most values of the metric in the study.
        unit: what the intervals are over: `seeds` or `pictures`.
    """
    evaluations = index.by_seed(runs, metric)
    valued = {seed: each for seed, each in evaluations.items() if each.value is not None}
    if not valued:
        return Cell(None, missing=_missing_reason(evaluations.values(), NOT_EVALUATED))
    averaged = _with_one_protocol(valued, usual_protocol)
    first = next(iter(averaged.values()))
    values = {seed: each.value for seed, each in averaged.items() if each.value is not None}
    interval = intervals.mean_interval(list(values.values()))
    if len(values) == 1 and unit == "pictures":
        interval = intervals.Interval(interval.mean, first.low, first.high)
    return Cell(
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        n_seeds=len(values),
        n_pictures=first.n_pictures,
        best_epoch=first.epoch,
        last=_last_checkpoint_mean(runs, metric, index, averaged),
        reference=first.reference,
        mark=_merge_remarks(_remarks(runs, evaluations, valued, averaged), len(evaluations)),
        incomparable=_incomparable_reason(first, metric, index, usual_protocol),
        protocol=first.protocol,
        by_seed=values,
        epochs={seed: each.epoch for seed, each in averaged.items()},
    )


def _missing_reason(evaluations: Iterable[Evaluation], default: str) -> str:
    """Returns the first recorded reason for an absent value, or the default."""
    return next((each.missing for each in evaluations if each.missing), default)


def _with_one_protocol(
    valued: Mapping[int, Evaluation], usual_protocol: str | None
) -> dict[int, Evaluation]:
    """Returns seed -> evaluation, for the seeds with the usual protocol and the same decoding.

    If no seed has the usual protocol, the protocol of the first seed is used instead. If seeds were
    decoded differently, those with the most common decoding are used.
    """
    protocols = {seed: protocol_key(each) for seed, each in valued.items()}
    is_usual = usual_protocol in protocols.values()
    protocol = usual_protocol if is_usual else next(iter(protocols.values()))
    comparable = {seed: each for seed, each in valued.items() if protocols[seed] == protocol}
    decodings = {seed: str(each.decoding) for seed, each in comparable.items()}
    decoding = _most_common(list(decodings.values()))
    return {seed: each for seed, each in comparable.items() if decodings[seed] == decoding}


def _last_checkpoint_mean(
    runs: Sequence[Run],
    metric: str,
    index: _EvaluationIndex,
    averaged: Mapping[int, Evaluation],
) -> float | None:
    """Returns the mean of a metric over the last checkpoints.

    The mean is None if a value is missing, or belongs to another decoding than the averaged one.
    """
    lasts = {run.seed: index.last.get((run.id, metric)) for run in runs if run.seed in averaged}
    values = [
        each.value
        for seed, each in lasts.items()
        if each is not None and each.value is not None and each.decoding == averaged[seed].decoding
    ]
    return intervals.mean_interval(values).mean if len(values) == len(averaged) else None


def _incomparable_reason(
    evaluation: Evaluation, metric: str, index: _EvaluationIndex, usual_protocol: str | None
) -> str | None:
    """Returns how the protocol differs from the usual protocol; None if both are equal."""
    if protocol_key(evaluation) == usual_protocol:
        return None
    usual = next(
        (each for each in index.valued(metric) if protocol_key(each) == usual_protocol), evaluation
    )
    return f"other protocol: {_protocol_difference(evaluation, usual)}"


def _protocol_difference(evaluation: Evaluation, usual: Evaluation) -> str:
    """Describes the differing entries of two protocols: `px 64, not 32`."""
    own, other = evaluation.protocol, usual.protocol
    return "; ".join(
        f"{key.replace('_', ' ')} {own.get(key)}, not {other.get(key)}"
        for key in sorted({*other, *own})
        if other.get(key) != own.get(key)
    )


def _remarks(
    runs: Sequence[Run],
    evaluations: Mapping[int, Evaluation],
    valued: Mapping[int, Evaluation],
    averaged: Mapping[int, Evaluation],
) -> list[str]:
    """Returns the remarks on a value; a remark on several seeds is repeated for each seed.

    Args:
        runs: the finished runs of the configuration.
        evaluations: seed -> evaluation.
        valued: seed -> evaluation, for the evaluations with a value.
        averaged: seed -> evaluation, for the evaluations in the mean.
    """
    first = next(iter(averaged.values()))
    remarks = [each.missing or each.note for each in evaluations.values()]
    remarks += [_related_extractor_warning(runs, first)] * len(evaluations)
    left_out = [each for seed, each in valued.items() if seed not in averaged]
    if left_out:
        difference = _protocol_difference(left_out[0], first)
        remarks += [f"left out, other protocol: {difference}"] * len(left_out)
    return [remark for remark in remarks if remark]


def _merge_remarks(remarks: Sequence[str], n_seeds: int) -> str | None:
    """Joins the distinct remarks.

    A remark that not all seeds have begins with the number of its seeds.
    """
    texts = [
        remark if count == n_seeds else f"{count} of {n_seeds} seeds: {remark}"
        for remark, count in Counter(remarks).items()
    ]
    return "; ".join(texts) or None


def _related_extractor_warning(runs: Sequence[Run], evaluation: Evaluation) -> str | None:
    """Returns a warning if a run used the metric's network or a related network.

    The network can be that of the perceptual loss, or the one that reads the source.
    """
    extractor = str(evaluation.protocol.get("extractor", ""))
    for reader in {run.config.configuration.source_features for run in runs}:
        if extractor and reader.rpartition("_")[0] == extractor.rpartition("_")[0] != "":
            return f"{READS_WITH} {reader}, a close relative of the network {extractor}"
    for teacher in {run.resolved.execution.perceptual_features for run in runs if run.resolved}:
        if teacher == extractor:
            return f"{TRAINED_AGAINST} the evaluation network {extractor}"
        if extractor and teacher.rpartition("_")[0] == extractor.rpartition("_")[0] != "":
            return f"{TRAINED_AGAINST} {teacher}, a close relative of the network {extractor}"
    return None


def _halves(runs: Sequence[Run], metric: str, index: _EvaluationIndex) -> intervals.Array | None:
    """Returns the metric's values on random halves of the images.

    Returns None if these values are not stored, or unless exactly one seed is evaluated.
    """
    evaluations = list(index.by_seed(runs, metric).values())
    if len(evaluations) != 1 or evaluations[0].halves is None:
        return None
    return np.frombuffer(evaluations[0].halves, "<f4").astype(np.float64)


def _machine_label(run: Run) -> str:
    """Returns the device, CPU, threads and precision of a run, which determine the costs."""
    environment, execution = run.environment or {}, (run.resolved or run.config).execution
    parts = (environment.get("device"), environment.get("cpu"), f"{execution.threads} threads")
    return ", ".join(str(part) for part in (*parts, execution.precision) if part)


def _cost_cell(
    runs: Sequence[Run],
    metric: str,
    index: _EvaluationIndex,
    epoch_costs: EpochCosts,
    usual_machine: str | None,
) -> Cell:
    """Builds the cell of a cost metric: the mean over seeds.

    Training costs are computed from the costs of the epochs: the sum for the training time, the
    maximum for memory, the median for other costs. Inference costs come from the evaluations.
    """
    by_seed: dict[int, float] = {}
    evaluations = index.by_seed(runs, metric)
    name = "epoch_seconds" if metric == "training_seconds" else metric
    for run in runs:
        values = epoch_costs.get((run.id, name), [])
        evaluation = evaluations.get(run.seed)
        if values and metric == "training_seconds":
            by_seed[run.seed] = sum(values)
        elif values:
            by_seed[run.seed] = max(values) if metric.endswith("_mb") else statistics.median(values)
        elif evaluation is not None and evaluation.value is not None:
            by_seed[run.seed] = evaluation.value
    if not by_seed:
        return Cell(None, missing=_missing_reason(evaluations.values(), NOT_MEASURED))
    first = next(iter(evaluations.values()), None)
    other_machines = sorted({_machine_label(run) for run in runs} - {usual_machine})
    return Cell(
        value=statistics.fmean(by_seed.values()),
        n_seeds=len(by_seed),
        mark=first.note if first is not None and len(by_seed) == 1 else None,
        incomparable=f"other machine: {other_machines[0]}, not {usual_machine}"
        if other_machines
        else None,
        protocol=first.protocol if first is not None else {},
        by_seed=by_seed,
    )


def _notes(
    study: Study, runs: Sequence[Run], unit: str, finished: Sequence[Run]
) -> tuple[str, ...]:
    """Returns the sentences below the table."""
    notes = []
    if finished:
        choose_by = CATALOG[study.budget.choose_by]
        notes.append(
            f"Values are those of the checkpoint with the best {choose_by.label} on the validation "
            "split; “last” is the value of the last epoch."
            if len(study.budget.evaluated_epochs) > 1
            else "Values are those of the last epoch's checkpoint."
        )
        notes.append(
            f"{UNIT_NOTES[unit]} Therefore the ± ranges of two values may overlap although their "
            "difference is clear. Ranks follow from the differences that are clear at 5 % after "
            "Holm's correction for the number of pairs; = marks a shared rank. A column without a "
            "clear difference has no ranks."
        )
    unfinished = [run for run in runs if run.state != RunState.DONE]
    if unfinished:
        states = Counter(run.state for run in unfinished)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        notes.append(f"Of {len(runs)} runs, {counts}; the table contains the other runs only.")
    return tuple(notes)
