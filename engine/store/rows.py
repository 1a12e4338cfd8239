"""Converts rows to records, so that no SQLAlchemy object leaves the store."""

from sqlalchemy import RowMapping

from engine.config import Budget, RunConfig
from engine.records.curves import Alert, CurveBucket, MetricPoint, MetricSummary, Probe
from engine.records.exports import Export, RunUpload
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
    """Converts one row of `studies`."""
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
    """Converts one row of `runs`."""
    resolved = row["resolved"]
    settings = {
        "state": RunState(row["state"]),
        "config": RunConfig.model_validate(row["config"]),
        "resolved": RunConfig.model_validate(resolved) if resolved else None,
        "tags": tuple(row["tags"]),
    }
    return Run(**{**row, **settings})


def job(row: RowMapping) -> Job:
    """Converts one row of `jobs`."""
    values = {key: value for key, value in row.items() if key != "priority"}
    return Job(**{**values, "state": RunState(row["state"])})


def export(row: RowMapping) -> Export:
    """Converts one row of `exports`."""
    return Export(**row)


def run_upload(row: RowMapping) -> RunUpload:
    """Converts one row of `run_uploads`."""
    return RunUpload(**{key: value for key, value in row.items() if key != "export_id"})


def attempt(row: RowMapping) -> Attempt:
    """Converts one row of `attempts`."""
    values = {key: value for key, value in row.items() if key not in ("id", "job_id")}
    state = RunState(row["state"]) if row["state"] else None
    return Attempt(**{**values, "state": state})


def metric_point(row: RowMapping) -> MetricPoint:
    """Converts one row of `metrics`."""
    return MetricPoint(**row)


def curve_bucket(row: RowMapping) -> CurveBucket:
    """Converts one row of `Curves.read_buckets`; PostgreSQL returns some averages as decimals."""
    averages = {
        key: None if value is None else float(value)
        for key, value in row.items()
        if key in ("step", "at", "value", "low", "high")
    }
    return CurveBucket(**{**row, **averages})


def alert(row: RowMapping) -> Alert:
    """Converts one row of `alerts`."""
    return Alert(**row)


def probe(row: RowMapping) -> Probe:
    """Converts one row of `probes`."""
    return Probe(**row)


def metric_summary(row: RowMapping) -> MetricSummary:
    """Converts one row of `metric_summaries`."""
    return MetricSummary(**row)


def evaluation(row: RowMapping) -> Evaluation:
    """Converts one row of `evaluations`."""
    return Evaluation(**{key: value for key, value in row.items() if key != "id"})


def image_score(row: RowMapping) -> ImageScore:
    """Converts one row of `image_scores`."""
    return ImageScore(**{key: value for key, value in row.items() if key != "id"})


def prediction(row: RowMapping) -> Predictions:
    """Converts one row of `predictions`."""
    values = {key: value for key, value in row.items() if key != "id"}
    return Predictions(**{**values, "names": tuple(values["names"])})


def sample(row: RowMapping) -> Sample:
    """Converts one row of `samples`."""
    return Sample(**row)


def checkpoint(row: RowMapping) -> Checkpoint:
    """Converts one row of `checkpoints`."""
    return Checkpoint(**{key: value for key, value in row.items() if key != "id"})
