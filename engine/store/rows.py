"""From rows to records: nothing of SQLAlchemy leaves the store."""

from sqlalchemy import RowMapping

from engine.config import Budget, RunConfig
from engine.records.curves import Alert, MetricPoint, MetricSummary, Probe, Stretch
from engine.records.runs import (
    Attempt,
    Checkpoint,
    Evaluation,
    ImageScore,
    Job,
    Predictions,
    Run,
    RunState,
    Sample,
    Study,
)


def study(row: RowMapping) -> Study:
    """One row of `studies`."""
    return Study(
        id=row["id"],
        name=row["name"],
        data=row["data"],
        budget=Budget.model_validate(row["budget"]),
        created_at=row["created_at"],
        archived_at=row["archived_at"],
        note=row["note"],
        tags=tuple(row["tags"]),
    )


def run(row: RowMapping) -> Run:
    """One row of `runs`."""
    resolved = row["resolved"]
    settings = {
        "state": RunState(row["state"]),
        "config": RunConfig.model_validate(row["config"]),
        "resolved": RunConfig.model_validate(resolved) if resolved else None,
        "tags": tuple(row["tags"]),
    }
    return Run(**{**row, **settings})


def job(row: RowMapping) -> Job:
    """One row of `jobs`."""
    values = {key: value for key, value in row.items() if key != "priority"}
    return Job(**{**values, "state": RunState(row["state"])})


def attempt(row: RowMapping) -> Attempt:
    """One row of `attempts`."""
    values = {key: value for key, value in row.items() if key not in ("id", "job_id")}
    state = RunState(row["state"]) if row["state"] else None
    return Attempt(**{**values, "state": state})


def metric_point(row: RowMapping) -> MetricPoint:
    """One row of `metrics`."""
    return MetricPoint(**row)


def stretch(row: RowMapping) -> Stretch:
    """One row of thinned `metrics`."""
    values = {key: None if it is None else float(it) for key, it in row.items() if key in _MEANS}
    return Stretch(**{**row, **values})


_MEANS = ("step", "at", "value", "low", "high")


def alert(row: RowMapping) -> Alert:
    """One row of `alerts`."""
    return Alert(**row)


def probe(row: RowMapping) -> Probe:
    """One row of `probes`."""
    return Probe(**row)


def metric_summary(row: RowMapping) -> MetricSummary:
    """One row of `metric_summaries`."""
    return MetricSummary(**row)


def evaluation(row: RowMapping) -> Evaluation:
    """One row of `evaluations`."""
    return Evaluation(**{key: value for key, value in row.items() if key != "id"})


def image_score(row: RowMapping) -> ImageScore:
    """One row of `image_scores`."""
    return ImageScore(**{key: value for key, value in row.items() if key != "id"})


def prediction(row: RowMapping) -> Predictions:
    """One row of `predictions`."""
    values = {key: value for key, value in row.items() if key != "id"}
    return Predictions(**{**values, "names": tuple(values["names"])})


def sample(row: RowMapping) -> Sample:
    """One row of `samples`."""
    return Sample(**row)


def checkpoint(row: RowMapping) -> Checkpoint:
    """One row of `checkpoints`."""
    return Checkpoint(**{key: value for key, value in row.items() if key != "id"})
