"""The numbers of a study as CSV files and as one JSON document."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from engine.records.comparison import RESULTS_FORMAT, Comparison, RunStability
from engine.records.runs import Run, Study
from engine.report import tables
from engine.report.findings import Finding
from engine.store import Store


def evaluations_csv(store: Store, runs: Sequence[Run]) -> str:
    """Every evaluation of every checkpoint, with its protocol."""
    by_id = {run.id: run for run in runs}
    rows = []
    for it in store.read_evaluations(list(by_id)):
        run = by_id[it.run_id]
        values = (it.value, it.low, it.high, it.reference, it.n_pictures)
        words = (tables.guard(it.missing), tables.guard(it.note))
        protocol = json.dumps(dict(it.protocol), sort_keys=True)
        place = (it.split, it.epoch, _role(run, it.epoch), it.name)
        rows.append((*_identity(run), *place, *values, *words, protocol))
    heads = ("split", "epoch", "checkpoint", "metric", "value", "low", "high", "reference")
    return _csv((*heads, "n_pictures", "missing", "note", "protocol"), rows)


def training_csv(store: Store, runs: Sequence[Run]) -> str:
    """Every recorded point of every curve, a row each."""
    by_id = {run.id: run for run in runs}
    points = sorted(store.read_metrics(list(by_id)), key=lambda it: (it.run_id, it.step, it.id))
    rows = ((*_identity(by_id[it.run_id]), it.step, it.epoch, it.name, it.value) for it in points)
    return _csv(("step", "epoch", "metric", "value"), rows)


def stability_csv(runs: Sequence[Run], steady: Mapping[int, RunStability]) -> str:
    """The stability figures of every curve of every run."""
    rows = []
    for run in runs:
        if run.id not in steady:
            continue
        found = steady[run.id]
        for curve, final in found.finals.items():
            it = found.curves.get(curve)
            figures: tuple[float | None, ...] = (None,) * 4
            if it is not None:
                figures = (it.variance, it.convergence_rate, it.oscillation, it.improvement)
            why = None if it else found.missing or "too few points for a trend"
            shared = (found.collapse_ratio, found.saturation, why)
            rows.append((*_identity(run), curve, found.n_parts, *figures, final, *shared))
    heads = ("curve", "parts", "variance", "convergence_rate", "oscillation", "improvement")
    return _csv((*heads, "final", "collapse_ratio", "saturation", "missing"), rows)


def scores_csv(store: Store, runs: Sequence[Run]) -> str:
    """Every metric of every picture."""
    by_id = {run.id: run for run in runs}
    rows = (
        (*_identity(by_id[it.run_id]), split, it.epoch, tables.guard(it.picture), it.name, it.value)
        for split in ("val", "test")
        for it in store.read_scores(list(by_id), split)
    )
    return _csv(("split", "epoch", "picture", "metric", "value"), rows)


def results_json(
    store: Store,
    study: Study,
    runs: Sequence[Run],
    comparison: Comparison,
    found: Sequence[Finding],
) -> str:
    """Everything a program may want, and what `study --from` needs to repeat it."""
    document: dict[str, Any] = {
        "format": RESULTS_FORMAT,
        "chromabench": metadata.version("chromabench"),
        "study": {
            "name": study.name,
            "data": study.data,
            "budget": study.budget.model_dump(mode="json"),
            "created_at": study.created_at.isoformat(),
        },
        "runs": [
            {
                "id": run.id,
                "configuration": run.configuration,
                "seed": run.seed,
                "state": run.state,
                "reason": run.reason,
                "best_epoch": run.best_epoch,
                "config": run.config.model_dump(mode="json"),
                "resolved": run.resolved.model_dump(mode="json") if run.resolved else None,
                "environment": run.environment,
            }
            for run in runs
        ],
        "comparison": comparison.as_json(),
        "contrasts": [vars(it) for it in comparison.contrasts],
        "findings": [it.text for it in found],
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2)


def _identity(run: Run) -> tuple[str, int, int]:
    return run.configuration, run.seed, run.id


def _role(run: Run, epoch: int) -> str:
    """Which checkpoint of a run an epoch's is."""
    roles = {"chosen": run.best_epoch, "last": run.epochs}
    return " and ".join(role for role, of in roles.items() if of == epoch)


def _csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("configuration", "seed", "run", *heads))
    writer.writerows(rows)
    return buffer.getvalue()
