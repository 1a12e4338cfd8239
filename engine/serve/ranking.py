"""Ranks the trained models of a study. Loads no torch.

Models are ranked by several metrics, because each metric alone is biased: feature distances favour
clean and pale pictures over colourful ones, and pixel errors favour grey. The runs of a study are
ranked in each metric, and the model with the lowest mean rank is the best.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CATALOG, KERNEL_METRICS, RANKING_METRICS
from engine.options.decodings import Decoding
from engine.records.runs import Checkpoint, Evaluation, Run, RunState, Study
from engine.report.comparison import protocol_key
from engine.store import Store


@dataclass(frozen=True)
class Candidate:
    """A trained model that can be served.

    Attributes:
        checkpoint: the checkpoint that is served.
        mean_rank: the run is ranked among the runs of its study in each of several metrics; this
            is the mean of these ranks, lower is better. None if the run was not evaluated like the
            other runs.
    """

    study: Study
    run: Run
    checkpoint: Checkpoint
    mean_rank: float | None

    @property
    def decoding(self) -> Decoding | None:
        """How the model's pictures are read from its palette by default; None without a palette."""
        return (self.run.resolved or self.run.config).decoding

    @property
    def label(self) -> str:
        """Short name of the model: its configuration, seed and run."""
        return f"{self.run.config.label}, run {self.run.id}"


def candidates_by_study(store: Store, study_id: int | None = None) -> Iterator[list[Candidate]]:
    """Yields the models of each study, newest study first; the best model of a study is first.

    Args:
        store: the store to read from.
        study_id: the only study to read, even if it is archived. None reads all studies that are
            not archived.

    Raises:
        BadInputError: the study does not exist.
    """
    studies = store.studies.read_all() if study_id is None else [store.studies.read(study_id)]
    for study in sorted(studies, key=lambda study: -study.id):
        if study.archived_at is not None and study_id is None:
            continue
        candidates = _candidates_of(store, study)
        if candidates:
            yield candidates


def best_candidate(store: Store, study_id: int | None = None) -> Candidate | None:
    """Returns the best model of a study, or of the newest study that has a model.

    Raises:
        BadInputError: the study does not exist.
    """
    return next((candidates[0] for candidates in candidates_by_study(store, study_id)), None)


def served_checkpoint(store: Store, run_id: int) -> Checkpoint | None:
    """Returns the best checkpoint on the validation split, or the last one if none is marked."""
    return store.checkpoints.read_best(run_id) or store.checkpoints.read_last(run_id)


def _candidates_of(store: Store, study: Study) -> list[Candidate]:
    runs = [
        run
        for run in store.runs.read_all(study.id)
        if run.state == RunState.DONE and run.archived_at is None
    ]
    best_epochs = {run.id: run.best_epoch for run in runs}
    evaluations = store.evaluations.read(list(best_epochs), REPORTED_SPLIT)
    of_best_epochs = [value for value in evaluations if value.epoch == best_epochs[value.run_id]]
    ranks = mean_ranks(of_best_epochs)
    candidates = [
        Candidate(study, run, checkpoint, ranks.get(run.id))
        for run in runs
        if (checkpoint := served_checkpoint(store, run.id)) is not None
    ]
    return sorted(
        candidates, key=lambda candidate: (candidate.mean_rank or float("inf"), candidate.run.id)
    )


def mean_ranks(evaluations: Sequence[Evaluation]) -> dict[int, float]:
    """Ranks runs in every metric and returns run id -> mean rank; lower is better.

    Equal values share the mean of their ranks. Only runs that were measured in the same way are
    ranked. The result does not contain the other runs.
    """
    columns = _comparable_values(evaluations)
    run_ids, metrics = _largest_group(columns)
    if not run_ids:
        return {}
    # [runs, metrics], lower is better
    values = np.array([[columns[metric][run_id] for metric in metrics] for run_id in run_ids])
    n_better = (values < values[:, None]).sum(axis=1)
    n_equal = (values == values[:, None]).sum(axis=1)  # counts the run itself
    ranks = n_better + (n_equal + 1) / 2
    return dict(zip(run_ids, ranks.mean(axis=1).tolist(), strict=True))


def _comparable_values(evaluations: Sequence[Evaluation]) -> dict[str, dict[int, float]]:
    """Returns metric -> run -> value, negated where higher is better.

    In each metric, only the values that were measured with the most frequent protocol are returned.
    """
    by_metric: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        if evaluation.value is not None:
            by_metric.setdefault(evaluation.name, []).append(evaluation)
    # Only one kernel distance counts: the first of `KERNEL_METRICS` that was measured.
    kernel_distance = next((metric for metric in KERNEL_METRICS if metric in by_metric), None)
    columns: dict[str, dict[int, float]] = {}
    for metric in (kernel_distance, *RANKING_METRICS):
        if metric is None or metric not in by_metric:
            continue
        protocols = Counter(protocol_key(evaluation) for evaluation in by_metric[metric])
        ((usual_protocol, _),) = protocols.most_common(1)
        sign = -1 if CATALOG[metric].better == "up" else 1
        columns[metric] = {
            evaluation.run_id: sign * evaluation.value
            for evaluation in by_metric[metric]
            if evaluation.value is not None and protocol_key(evaluation) == usual_protocol
        }
    return columns


def _largest_group(
    columns: Mapping[str, Mapping[int, float]],
) -> tuple[list[int], tuple[str, ...]]:
    """Returns the largest group of runs that have the same metrics, and these metrics.

    Of two groups of the same size, the one with more metrics is returned.
    """
    metrics_of_run = {
        run_id: tuple(metric for metric in columns if run_id in columns[metric])
        for run_id in sorted({run_id for column in columns.values() for run_id in column})
    }
    if not metrics_of_run:
        return [], ()
    group_sizes = Counter(metrics_of_run.values())
    metrics = max(group_sizes, key=lambda metrics: (group_sizes[metrics], len(metrics)))
    # A run with additional metrics belongs to the group too.
    run_ids = [run_id for run_id, own in metrics_of_run.items() if set(metrics) <= set(own)]
    return run_ids, metrics
