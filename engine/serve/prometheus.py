"""What the server tells Prometheus of itself."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16)


class Measures:
    """Counters of one server; each has a registry of its own.

    Args:
        waiting: how many requests there are now.
        loaded: how many models are in memory now.
    """

    def __init__(self, waiting: Callable[[], int], loaded: Callable[[], int]) -> None:
        self.registry = here = CollectorRegistry()
        self.requests = Counter(
            "chromabench_requests", "Pictures asked for", ["run", "status"], registry=here
        )
        self.seconds = Histogram(
            "chromabench_request_seconds", "Upload to answer", buckets=SECONDS, registry=here
        )
        self.batch = Histogram(
            "chromabench_batch_pictures", "Pictures per call", buckets=BATCHES, registry=here
        )
        self.swaps = Counter(
            "chromabench_model_swaps", "Times the served model changed", registry=here
        )
        for name, about, count in (
            ("chromabench_requests_waiting", "Requests now", waiting),
            ("chromabench_models_loaded", "Models in memory", loaded),
        ):
            Gauge(name, about, registry=here).set_function(count)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self.registry)
