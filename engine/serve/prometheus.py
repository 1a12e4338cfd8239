"""Prometheus metrics of the model server."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16)


class ServerMetrics:
    """Metrics of one server, in a separate registry.

    Args:
        count_requests: returns the number of requests that the server holds now.
        count_models: returns the number of models in memory now.
    """

    def __init__(self, count_requests: Callable[[], int], count_models: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "chromabench_requests",
            "Requests to colorize a picture",
            ["run", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "chromabench_request_seconds",
            "Seconds from the start of a request to its answer",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.batch = Histogram(
            "chromabench_batch_pictures",
            "Pictures in a model call",
            buckets=BATCH_SIZE_BUCKETS,
            registry=registry,
        )
        self.swaps = Counter(
            "chromabench_model_swaps", "Changes of the default model", registry=registry
        )
        for name, description, count in (
            ("chromabench_requests_waiting", "Requests that the server holds now", count_requests),
            ("chromabench_models_loaded", "Models in memory now", count_models),
        ):
            Gauge(name, description, registry=registry).set_function(count)

    def text(self) -> bytes:
        """Returns all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
