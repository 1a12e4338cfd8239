"""Finds the stored evaluations of a study that lack metrics because weights were missing.

A job of the kind `evaluate` computes these metrics (`workers.missing_metrics`). This module only
reads: it tells commands, pages and the job what there is to compute.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from engine import weights
from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CATALOG
from engine.records.runs import Evaluation, Job, Run, RunState
from engine.settings import Settings
from engine.store import Store


@dataclass(frozen=True)
class IncompleteEvaluation:
    """An evaluated checkpoint that lacks metrics because weights were missing.

    Attributes:
        run_id: the run of the checkpoint.
        epoch: the epoch of the checkpoint.
        metrics: the names of the metrics without a value.
    """

    run_id: int
    epoch: int
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class MissingMetrics:
    """The metrics that the evaluations of one study lack because weights were missing.

    Attributes:
        n_evaluations: the number of evaluated checkpoints, the best and the last of each run that
            has ended.
        incomplete: the evaluations among them that lack metrics.
    """

    n_evaluations: int
    incomplete: tuple[IncompleteEvaluation, ...]

    @property
    def n_complete(self) -> int:
        """The number of evaluations that lack nothing."""
        return self.n_evaluations - len(self.incomplete)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the missing metrics, in the catalog's order."""
        names = {name for evaluation in self.incomplete for name in evaluation.metrics}
        return tuple(name for name in CATALOG if name in names)

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the weights that the missing metrics need."""
        return tuple(dict.fromkeys(CATALOG[name].network for name in self.metrics))

    @property
    def labels(self) -> str:
        """The labels of the missing metrics: `FID, KID and Inception Score`.

        Metrics without a better direction, such as the spread of the Inception Score, are left out.
        Without missing metrics, the text is empty.
        """
        if not self.metrics:
            return ""
        with_direction = [name for name in self.metrics if CATALOG[name].arrow]
        *first, last = [CATALOG[name].label for name in with_direction or self.metrics]
        return f"{', '.join(first)} and {last}" if first else last

    @property
    def sentence(self) -> str:
        """What is missing: `6 evaluations of 3 runs lack FID, KID and Inception Score`."""
        n_runs, n = len({each.run_id for each in self.incomplete}), len(self.incomplete)
        evaluations = f"{n} evaluation{'s' * (n != 1)} of {n_runs} run{'s' * (n_runs != 1)}"
        return f"{evaluations} {'lack' if n != 1 else 'lacks'} {self.labels}"

    def limited_to(self, networks: Collection[str]) -> "MissingMetrics":
        """Returns only the missing metrics that need one of some networks."""
        limited = []
        for evaluation in self.incomplete:
            names = [name for name in evaluation.metrics if CATALOG[name].network in networks]
            if names:
                limited.append(replace(evaluation, metrics=tuple(names)))
        return replace(self, incomplete=tuple(limited))


def find_missing_metrics(store: Store, study_id: int) -> MissingMetrics:
    """Finds the metrics that the evaluations of a study lack because weights were missing."""
    runs = store.runs.read_all(study_id)
    evaluations = store.evaluations.read([run.id for run in runs], REPORTED_SPLIT)
    return select_missing_metrics(runs, evaluations)


def select_missing_metrics(
    runs: Sequence[Run], evaluations: Sequence[Evaluation]
) -> MissingMetrics:
    """Selects the missing metrics of the best and the last evaluated checkpoint of ended runs.

    The protocol of a metric that was computed with a network contains the hash of the network's
    weights, even if the metric was refused. Without this hash the weights were missing, unless the
    checkpoint has no value at all: its pictures were refused then.

    Args:
        runs: the runs of a study.
        evaluations: their evaluations on the reported split.
    """
    by_checkpoint: dict[tuple[int, int], list[Evaluation]] = {}
    for each in evaluations:
        by_checkpoint.setdefault((each.run_id, each.epoch), []).append(each)
    n_evaluations, incomplete = 0, []
    for run in [run for run in runs if run.is_over]:
        epochs = sorted(epoch for run_id, epoch in by_checkpoint if run_id == run.id)
        for epoch in [epoch for epoch in epochs if epoch in (run.best_epoch, epochs[-1])]:
            of_checkpoint = by_checkpoint[run.id, epoch]
            if all(each.value is None for each in of_checkpoint):
                continue
            n_evaluations += 1
            names = tuple(each.name for each in of_checkpoint if _lacks_weights(each))
            if names:
                incomplete.append(IncompleteEvaluation(run.id, epoch, names))
    return MissingMetrics(n_evaluations, tuple(incomplete))


def available_networks(missing: MissingMetrics, settings: Settings) -> tuple[str, ...]:
    """Returns the networks of missing metrics whose weights are on this machine now."""
    return tuple(name for name in missing.networks if weights.find(name, settings) is not None)


def describe_progress(job: Job, missing: MissingMetrics) -> str:
    """Describes in a clause what an unfinished job of a study does.

    Args:
        job: the job.
        missing: the metrics that are still missing and that the job can compute.
    """
    metrics = missing.labels or "missing metrics"
    if job.state == RunState.QUEUED:
        return f"waiting for a free training slot to compute {metrics}"
    counts = f"{missing.n_complete} of {missing.n_evaluations} evaluations are complete"
    return f"computing {metrics}, {counts}"


def _lacks_weights(evaluation: Evaluation) -> bool:
    needs_network = CATALOG[evaluation.name].network != ""
    return (
        needs_network and evaluation.value is None and "weights_sha256" not in evaluation.protocol
    )
