"""Converts records of the store to the names, tags and timestamps of MLflow."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import requests
from mlflow.entities import RunTag

from engine.records.curves import MetricPoint
from engine.records.runs import Evaluation, Run

MAX_TAG_CHARACTERS = 5000
MAX_ERROR_CHARACTERS = 300


def stored_value(evaluation: Evaluation) -> float | str:
    """Returns the value of an evaluation, or the reason why it has no value."""
    return evaluation.missing or "" if evaluation.value is None else evaluation.value


def metric_group(evaluation: Evaluation, run: Run) -> str:
    """Returns the first part of an evaluation's metric name: `val`, `test` or `test_last`.

    MLflow shows the last value of each name, so the best and the last checkpoint need different
    names on the test split.
    """
    is_selected = evaluation.epoch == run.best_epoch
    split = evaluation.split
    return split if split == "val" or is_selected else f"{split}_last"


def protocol_tags(evaluation: Evaluation) -> dict[str, Any]:
    """Returns a tag with the protocol of a value, or with the reason why there is no value."""
    name = f"{evaluation.split}.{mlflow_name(evaluation.name)}"
    if evaluation.value is None:
        return {f"missing.{name}": evaluation.missing}
    protocol = {
        **evaluation.protocol,
        "low": evaluation.low,
        "high": evaluation.high,
        "note": evaluation.note,
        "epoch": evaluation.epoch,
    }
    return {f"protocol.{name}": json.dumps(protocol, default=str)}


def tags(values: Mapping[str, Any]) -> list[RunTag]:
    """Builds tags; replaces invalid characters in the names and cuts long values."""
    return [
        RunTag(mlflow_name(key), str(value)[:MAX_TAG_CHARACTERS]) for key, value in values.items()
    ]


def mlflow_name(text: str) -> str:
    """Replaces each character that MLflow does not allow in names with an underscore."""
    return "".join(
        character if character.isalnum() or character in "_-. /" else "_" for character in text
    )


def timestamp_ms(point: MetricPoint, run: Run) -> int:
    """Returns the time of a point in ms since 1970; the start of the run if it was not recorded.

    The time of a point never changes, so a repeated upload adds no second point to the curve.
    """
    return int(point.at * 1000) if point.at is not None else to_milliseconds(run.started_at)


def to_milliseconds(moment: datetime | None) -> int:
    """Converts a time to milliseconds since 1970; returns 0 if the time is unknown."""
    return 0 if moment is None else int(moment.timestamp() * 1000)


def reason_of(error: Exception) -> str:
    """Returns the reason of a failed upload: why no answer came, or the first line of the error."""
    cause: BaseException | None = error
    while cause is not None:  # MLflow's client wraps the errors of requests
        if isinstance(cause, requests.Timeout):
            return "the server did not answer in time"
        if isinstance(cause, requests.ConnectionError):
            reason = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(cause))
            return "the server could not be reached" + (f": {reason[1]}" if reason else "")
        cause = cause.__cause__ or cause.__context__
    return (str(error).strip().splitlines() or [repr(error)])[0][:MAX_ERROR_CHARACTERS]
