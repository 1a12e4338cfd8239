"""The last gate before a number is stored."""

from engine import weights
from engine.metrics.catalog import CATALOG
from engine.records.runs import Evaluation


def refuse_impossible(evaluation: Evaluation) -> None:
    """The last gate before a number is stored: one that cannot be a number of its metric is ours.

    Raises:
        ValueError: the value is not finite, outside its metric's range, or was made with other
            weights than those that define the metric.
    """
    metric, value = CATALOG[evaluation.name], evaluation.value
    if value is None:
        if not evaluation.missing:
            raise ValueError(f"{metric.name} has neither a value nor a reason")
        return
    if not metric.allows(value):
        raise ValueError(f"{metric.name} cannot be {value}")
    if metric.network:
        digest = str(evaluation.protocol.get("weights_sha256", ""))
        if not digest.startswith(weights.CATALOG[metric.network].sha256):
            raise ValueError(f"{metric.name} was made with other weights: {digest[:8]!r}")
