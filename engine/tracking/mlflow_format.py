"""From our records to the names, tags and times that MLflow takes."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlflow.entities import RunTag

from engine.records.curves import MetricPoint
from engine.records.runs import Evaluation, Run

LONGEST_TAG = 5000  # characters


def worth(it: Evaluation) -> float | str:
    """A value, or why there is none."""
    return it.missing or "" if it.value is None else it.value


def group(it: Evaluation, run: Run) -> str:
    """MLflow shows the last value of each name: the chosen checkpoint has a name of its own."""
    return it.split if it.split == "val" or it.epoch == run.best_epoch else f"{it.split}_last"


def about(it: Evaluation) -> dict[str, Any]:
    """The protocol of a value, or why there is none."""
    name = f"{it.split}.{mlflow_name(it.name)}"
    if it.value is None:
        return {f"missing.{name}": it.missing}
    protocol = {**it.protocol, "low": it.low, "high": it.high, "note": it.note, "epoch": it.epoch}
    return {f"protocol.{name}": json.dumps(protocol, default=str)}


def tags(values: Mapping[str, Any]) -> list[RunTag]:
    """Tags with names and lengths such as MLflow takes."""
    return [RunTag(mlflow_name(key), str(it)[:LONGEST_TAG]) for key, it in values.items()]


def mlflow_name(text: str) -> str:
    """A name such as MLflow takes."""
    return "".join(it if it.isalnum() or it in "_-. /" else "_" for it in text)


def at(point: MetricPoint, run: Run) -> int:
    """When a point was measured; where that is not known, the same time whenever it is sent."""
    return int(point.at * 1000) if point.at is not None else milliseconds(run.started_at)


def milliseconds(moment: datetime | None) -> int:
    """Since 1970; 0 where it is not known."""
    return 0 if moment is None else int(moment.timestamp() * 1000)


def fault(error: Exception) -> str:
    """The first line of what went wrong."""
    return (str(error).strip().splitlines() or [repr(error)])[0][:300]
