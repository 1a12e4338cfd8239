"""A study -> its comparison table, as records, as JSON, as CSV. Torch-free.

Two or more seeds: the seed is the unit, with a t-interval of the mean over seeds. One seed: the
interval over pictures, which speaks of these weights only. Values whose protocols differ are
never ranked against each other.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from engine.metrics.catalog import CATALOG, QUALITY
from engine.metrics.intervals import Interval, mean_interval, ranks
from engine.records import (
    Cell,
    Comparison,
    Evaluation,
    MetricSummary,
    Row,
    Run,
    RunState,
    Study,
)
from engine.store import Store

REPORTED_SPLIT = "test"
COSTS = ("images_per_second", "epoch_seconds", "peak_memory_mb")
NOT_COMPARABLE = ("checkpoint", "n_pictures")  # parts of a protocol that may differ between runs


def compare(store: Store, study_id: int) -> Comparison:
    """The comparison table of a study as it stands now."""
    study, runs = store.read_study(study_id), store.read_runs(study_id)
    evaluations = store.read_evaluations(study_id, REPORTED_SPLIT)
    summaries = store.read_metric_summaries([run.id for run in runs])
    return build_comparison(study, runs, evaluations, summaries)


def build_comparison(
    study: Study,
    runs: Sequence[Run],
    evaluations: Sequence[Evaluation],
    summaries: Sequence[MetricSummary],
) -> Comparison:
    """The table from its records; configurations in the order of their first runs."""
    names = list(dict.fromkeys(run.configuration for run in runs))
    members = {name: [run for run in runs if run.configuration == name] for name in names}
    measured = {(it.run_id, it.name): it for it in evaluations}
    cells: dict[str, dict[str, Cell]] = {name: {} for name in names}
    for metric in QUALITY:
        column = _of_one_unit([_quality_cell(members[name], metric, measured) for name in names])
        fair = len({_comparable(measured, run.id, metric) for run in runs} - {None}) <= 1
        for name, cell in zip(names, _ranked(column, metric, fair), strict=True):
            cells[name][metric] = cell
    lasts = {(it.run_id, it.name): it.last for it in summaries}
    for metric in COSTS:
        for name in names:
            cells[name][metric] = _cost_cell(members[name], metric, lasts)
    rows = tuple(
        Row(name, sum(run.state == RunState.DONE for run in members[name]), len(members[name]), it)
        for name, it in cells.items()
    )
    most = max((row.seeds for row in rows), default=0)
    unit = "seeds" if most > 1 else "pictures"
    return Comparison(study, (*QUALITY, *COSTS), rows, unit, _notes(runs, unit, rows))


def to_csv(comparison: Comparison) -> str:
    """The table as CSV: a row per configuration; value, interval and rank of each metric."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    parts = ("", "_low", "_high", "_rank", "_n_pictures", "_missing")
    quality = [name for name in comparison.metrics if CATALOG[name].kind == "quality"]
    costs = [name for name in comparison.metrics if CATALOG[name].kind == "cost"]
    heads = [f"{name}{part}" for name in quality for part in parts]
    writer.writerow(
        ["study", "configuration", "seeds", "split", "interval_over", "best_epoch", *heads, *costs]
    )
    for row in comparison.rows:
        cells = [row.cells[name] for name in quality]
        best = next((cell.best_epoch for cell in cells if cell.best_epoch is not None), None)
        values: list[object] = []
        for cell in cells:
            values += [cell.value, cell.low, cell.high, cell.rank, cell.n_pictures]
            values += [guard(cell.missing)]
        values += [row.cells[name].value for name in costs]
        fixed = [guard(comparison.study.name), row.configuration, row.seeds, REPORTED_SPLIT]
        writer.writerow([*fixed, comparison.unit, best, *values])
    return buffer.getvalue()


def guard(text: str | None) -> str | None:
    """A text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text[0] in "=+-@\t\r" else text


def _quality_cell(
    runs: Sequence[Run], metric: str, measured: Mapping[tuple[int, str], Evaluation]
) -> Cell:
    found = [measured[run.id, metric] for run in runs if (run.id, metric) in measured]
    known = [(it, it.value) for it in found if it.value is not None]
    if not known:
        reason = next((it.missing for it in found if it.missing), "not evaluated yet")
        return Cell(None, missing=reason)
    interval = mean_interval([value for _, value in known])
    first = known[0][0]
    if len(known) == 1:
        interval = Interval(interval.mean, first.low, first.high)
    against = {run.resolved.execution.perceptual_features for run in runs if run.resolved}
    trained = first.protocol.get("extractor") in against
    mark = "judged by a network it was trained against" if trained else first.note
    return Cell(
        value=interval.mean,
        low=interval.low,
        high=interval.high,
        n_seeds=len(known),
        n_pictures=first.n_pictures,
        best_epoch=first.epoch,
        mark=mark,
    )


def _of_one_unit(column: Sequence[Cell]) -> list[Cell]:
    """Intervals over seeds and over pictures do not mix: beside seeds, one seed has none."""
    if not any(cell.n_seeds > 1 for cell in column):
        return list(column)
    return [replace(cell, low=None, high=None) if cell.n_seeds == 1 else cell for cell in column]


def _ranked(column: Sequence[Cell], metric: str, fair: bool) -> list[Cell]:
    """The cells with their ranks, where the values may be compared."""
    known = [cell for cell in column if cell.value is not None]
    if not fair:
        mark = "not ranked: the protocols differ"
        return [replace(cell, mark=mark) for cell in column]
    if len(known) < 2:
        return list(column)
    intervals = [Interval(cell.value or 0.0, cell.low, cell.high) for cell in known]
    found = iter(ranks(intervals, CATALOG[metric].better == "up"))
    return [cell if cell.value is None else replace(cell, rank=next(found)) for cell in column]


def _comparable(
    measured: Mapping[tuple[int, str], Evaluation], run_id: int, metric: str
) -> str | None:
    """What must be equal for two values to be compared; None where there is no value."""
    found = measured.get((run_id, metric))
    if found is None or found.value is None:
        return None
    kept = {key: it for key, it in found.protocol.items() if key not in NOT_COMPARABLE}
    return json.dumps(kept, sort_keys=True)


def _cost_cell(
    runs: Sequence[Run], metric: str, lasts: Mapping[tuple[int, str], float | None]
) -> Cell:
    known = [value for run in runs if (value := lasts.get((run.id, metric))) is not None]
    if not known:
        return Cell(None, missing="not measured yet")
    return Cell(value=mean_interval(known).mean, n_seeds=len(known))


def _notes(runs: Sequence[Run], unit: str, rows: Sequence[Row]) -> tuple[str, ...]:
    notes = []
    if any(row.seeds for row in rows):
        notes.append(
            "Intervals are 95 %, over seeds."
            if unit == "seeds"
            else "Intervals are 95 %, over the test pictures: they speak of these weights only. "
            "Another seed may differ by more; `--seeds 3` tells."
        )
        notes.append("Whose intervals touch share a rank; without an interval there is no rank.")
    unfinished = [run for run in runs if run.state != RunState.DONE]
    if unfinished:
        states = ", ".join(
            f"{sum(run.state == state for run in unfinished)} {state}"
            for state in dict.fromkeys(run.state for run in unfinished)
        )
        notes.append(f"Of {len(runs)} runs, {states}: the table holds the others.")
    return tuple(notes)
