"""Formats the numbers of a study as CSV files and as `results.json`."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.records.comparison import RESULTS_FORMAT, Comparison, RunStability
from engine.records.runs import Run, Study
from engine.report.findings import Finding
from engine.report.tables import escape_formula
from engine.settings import read_version
from engine.store import Store


def evaluations_csv(store: Store, runs: Sequence[Run]) -> str:
    """Formats all evaluations of all checkpoints, with their protocols."""
    by_id = {run.id: run for run in runs}
    rows = []
    for each in store.evaluations.read(list(by_id)):
        run = by_id[each.run_id]
        checkpoint = (each.split, each.epoch, _checkpoint_role(run, each.epoch))
        values = (each.value, each.low, each.high, each.reference, each.n_pictures)
        texts = (escape_formula(each.missing), escape_formula(each.note))
        protocol = json.dumps(dict(each.protocol), sort_keys=True)
        rows.append((*_identity(run), *checkpoint, each.name, *values, *texts, protocol))
    heads = ("split", "epoch", "checkpoint", "metric", "value", "low", "high", "reference")
    return _to_csv((*heads, "n_pictures", "missing", "note", "protocol"), rows)


def training_csv(store: Store, runs: Sequence[Run]) -> str:
    """Formats all recorded points of all curves."""
    by_id = {run.id: run for run in runs}
    points = store.curves.read(list(by_id))
    points = sorted(points, key=lambda point: (point.run_id, point.step, point.id))
    rows = (
        (*_identity(by_id[point.run_id]), point.step, point.epoch, point.name, point.value)
        for point in points
    )
    return _to_csv(("step", "epoch", "metric", "value"), rows)


def stability_csv(runs: Sequence[Run], stability_by_run: Mapping[int, RunStability]) -> str:
    """Formats the stability statistics of all curves of all runs."""
    rows = []
    for run in runs:
        if run.id not in stability_by_run:
            continue
        stability = stability_by_run[run.id]
        for name, final in stability.finals.items():
            curve = stability.curves.get(name)
            statistics: tuple[float | None, ...] = (None,) * 4
            missing = None
            if curve is None:
                missing = stability.missing or "too few points for a trend"
            else:
                statistics = (
                    *(curve.variance, curve.convergence_rate),
                    *(curve.oscillation, curve.improvement),
                )
            of_run = (stability.collapse_ratio, stability.saturation)
            rows.append(
                (*_identity(run), name, stability.n_parts, *statistics, final, *of_run, missing)
            )
    heads = ("curve", "parts", "variance", "convergence_rate", "oscillation", "improvement")
    return _to_csv((*heads, "final", "collapse_ratio", "saturation", "missing"), rows)


def scores_csv(store: Store, runs: Sequence[Run]) -> str:
    """Formats the scores of all single images, on the validation and the test split."""
    by_id = {run.id: run for run in runs}

    def rows() -> Iterable[Sequence[object]]:
        for split in ("val", "test"):
            for score in store.evaluations.read_scores(list(by_id), split):
                picture = escape_formula(score.picture)
                identity = _identity(by_id[score.run_id])
                yield (*identity, split, score.epoch, picture, score.name, score.value)

    return _to_csv(("split", "epoch", "picture", "metric", "value"), rows())


def results_json(
    study: Study,
    runs: Sequence[Run],
    comparison: Comparison,
    findings: Sequence[Finding],
) -> str:
    """Formats all results for other programs, with the settings that `study --from` needs."""
    document: dict[str, Any] = {
        "format": RESULTS_FORMAT,
        "chromabench": read_version(),
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
        "contrasts": [vars(contrast) for contrast in comparison.contrasts],
        "findings": [finding.text for finding in findings],
        "notes": list(comparison.notes),
    }
    return json.dumps(document, indent=2)


def _identity(run: Run) -> tuple[str, int, int]:
    """Returns the values of the first three columns of every CSV file except `summary.csv`."""
    return run.configuration, run.seed, run.id


def _checkpoint_role(run: Run, epoch: int) -> str:
    """Returns `chosen`, `last`, `chosen and last`, or "" for another checkpoint."""
    epochs = {"chosen": run.best_epoch, "last": run.epochs}
    return " and ".join(role for role, role_epoch in epochs.items() if role_epoch == epoch)


def _to_csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Formats rows that begin with the values of `_identity`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("configuration", "seed", "run", *heads))
    writer.writerows(rows)
    return buffer.getvalue()
