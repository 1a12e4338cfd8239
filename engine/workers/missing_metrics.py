"""Computes the metrics that the stored evaluations of a study lack because weights were missing.

The supervisor starts this module through `engine.workers`, with the arguments JOB TOKEN. The
metrics are computed from the stored fakes of each checkpoint, and are stored checkpoint by
checkpoint. A repeated job therefore continues where a stopped or killed one ended.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from engine import weights
from engine.config import REPORTED_SPLIT, RunConfig
from engine.data import batches, packing
from engine.data.packing import PackedPairs
from engine.data.sources.registry import parse_source
from engine.errors import (
    DatabaseUnavailableError,
    EngineError,
    MissingWeightsError,
    StoreError,
)
from engine.evaluation import evaluate
from engine.evaluation.checkpoint_evaluator import CheckpointEvaluator
from engine.evaluation.evaluate import FeatureMetrics
from engine.jobs.missing_metrics import (
    IncompleteEvaluation,
    MissingMetrics,
    available_networks,
    find_missing_metrics,
)
from engine.records.runs import Evaluation, Job, Predictions, Run, RunState
from engine.settings import PROGRAM, Settings
from engine.store import LostJobError, Store, utc_now
from engine.training import execution
from engine.workers import worker_process
from engine.workers.worker_process import End, Progress, ShouldStop

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5


def compute_missing_metrics(
    store: Store, settings: Settings, job: Job, should_stop: ShouldStop
) -> End:
    """Computes the missing metrics of the job's study, one checkpoint after the other.

    If the fakes of a checkpoint cannot be used, the other checkpoints are completed.

    Raises:
        StoppedError: a stop was requested.
        EngineError: the weights or the pairs of the study cannot be used.
    """
    if job.subject is None:
        raise EngineError("this job names no study")
    study_id = int(job.subject)
    missing = find_missing_metrics(store, study_id)
    if not missing.incomplete:
        return RunState.DONE, None
    available = available_networks(missing, settings)
    if not available:
        raise MissingWeightsError(weights.missing_message(missing.networks[0]))
    missing = missing.limited_to(available)
    completion = _StudyCompletion(store, settings, job, study_id, missing, should_stop)
    reasons = []
    try:
        for n_done, incomplete in enumerate(missing.incomplete):
            try:
                completion.complete(incomplete, missing.n_complete + n_done)
            except (LostJobError, StoreError):
                raise
            except EngineError as error:
                reasons.append(f"run {incomplete.run_id}, epoch {incomplete.epoch}: {error}")
                logger.warning("%s", reasons[-1])
    finally:
        worker_process.retry_until_written(lambda: store.exports.renew(study_id, utc_now()))
    if reasons:
        counts = f"{len(reasons)} of {len(missing.incomplete)} evaluations were not completed"
        return RunState.FAILED, f"{counts}, the first is {reasons[0]}"
    return RunState.DONE, None


class _StudyCompletion:
    """The networks, runs and pairs that the incomplete evaluations of a study share."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        job: Job,
        study_id: int,
        missing: MissingMetrics,
        should_stop: ShouldStop,
    ) -> None:
        self.store, self.settings, self.job = store, settings, job
        self.n_evaluations, self.should_stop = missing.n_evaluations, should_stop
        self.runs = {run.id: run for run in store.runs.read_all(study_id)}
        self.device = execution.choose_device("auto")
        self.feature_metrics = [
            _load_family(settings, self.device, network) for network in missing.networks
        ]
        # All runs of a study have the same source and budget.
        config = _resolved(self.runs[missing.incomplete[0].run_id])
        source = parse_source(config.data, settings)
        unreported = Progress(lambda _done, _total: None, PROGRESS_EVERY_S, should_stop)
        self.packed: PackedPairs = packing.prepare(
            source, config.budget.px, settings, unreported.update
        )
        self.pairs = batches.load_pair_set(
            self.packed, REPORTED_SPLIT, config.budget.n_test, self.device
        )
        run_ids = [evaluation.run_id for evaluation in missing.incomplete]
        self.predictions: Mapping[tuple[int, int], Predictions] = {
            (each.run_id, each.epoch): each
            for each in store.evaluations.read_predictions(run_ids, REPORTED_SPLIT)
        }
        self.decodings: Mapping[tuple[int, int], str] = {
            (each.run_id, each.epoch): each.decoding
            for each in store.evaluations.read(run_ids, REPORTED_SPLIT)
            if each.decoding is not None
        }

    def complete(self, incomplete: IncompleteEvaluation, n_complete: int) -> None:
        """Computes and stores the missing metrics of one checkpoint.

        Args:
            incomplete: the checkpoint and its missing metrics.
            n_complete: the number of complete evaluations of the study, for the progress.

        Raises:
            StoppedError: a stop was requested.
            EngineError: the fakes are missing, or the pairs have changed since the run.
        """
        run = self.runs[incomplete.run_id]
        config = self._config_of_fakes(run, incomplete.epoch)
        self.packed.require_unchanged(run.environment)
        fakes = self._load_fakes(run, incomplete.epoch)
        torch.set_num_threads(int(config.execution.threads))
        evaluator = CheckpointEvaluator(
            self.settings,
            run.id,
            config,
            self.packed.fingerprint,
            [
                each
                for each in self.feature_metrics
                if set(each.family.names) & set(incomplete.metrics)
            ],
        )
        progress = Progress(
            partial(self._store_progress, n_complete),
            PROGRESS_EVERY_S,
            self.should_stop,
            f" after {n_complete} of {self.n_evaluations} evaluations",
        )
        completed = evaluator.evaluate_fakes(
            fakes,
            REPORTED_SPLIT,
            incomplete.epoch,
            self.pairs,
            lambda done: progress.update(done, len(self.pairs)),
        )
        self._store(completed)
        logger.info("run %d, epoch %d: %s", run.id, incomplete.epoch, _values_text(completed))

    def _store(self, completed: Sequence[Evaluation]) -> None:
        worker_process.retry_until_written(
            lambda: self.store.evaluations.complete(self.job, completed, utc_now())
        )

    def _store_progress(self, n_complete: int, done: int, total: int) -> None:
        """Stores the share of complete evaluations, and of images in the current evaluation."""
        share = (n_complete + done / total) / self.n_evaluations
        with suppress(
            DatabaseUnavailableError
        ):  # progress is not important enough to wait for the database
            self.store.jobs.set_progress(self.job, share, utc_now())

    def _config_of_fakes(self, run: Run, epoch: int) -> RunConfig:
        """Returns the settings of a run with the decoding of the stored fakes of a checkpoint."""
        decoding = self.decodings.get((run.id, epoch))
        config = _resolved(run)
        return config if decoding is None else config.with_decoding(decoding)

    def _load_fakes(self, run: Run, epoch: int) -> NDArray[np.uint8]:
        """Opens the stored fakes of a checkpoint, [N, px, px, 3] uint8.

        Raises:
            EngineError: there are no fakes of the study's test pictures.
        """
        role = "best" if epoch == run.best_epoch else "last"
        way_out = f"`{PROGRAM} evaluate {run.id} --checkpoint {role}` makes them again"
        record = self.predictions.get((run.id, epoch))
        if record is None:
            raise EngineError(f"there are no stored fakes; {way_out}")
        path = self.settings.artifacts / record.path
        try:
            fakes: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise EngineError(f"the fakes in {path} are missing or damaged; {way_out}") from error
        side = self.packed.px
        if record.names != self.pairs.names or fakes.shape != (len(self.pairs), side, side, 3):
            raise EngineError(f"the fakes in {path} belong to other test pictures; {way_out}")
        return fakes


def _load_family(settings: Settings, device: torch.device, network: str) -> FeatureMetrics:
    """Loads a feature network; raises `MissingWeightsError` if its file has a wrong hash."""
    (family,) = evaluate.load_feature_metrics(settings, device, network)
    if family.extractor is None:
        raise MissingWeightsError(family.reason)
    return family


def _resolved(run: Run) -> RunConfig:
    assert run.resolved is not None, "a run with evaluations has started"
    return run.resolved


def _values_text(evaluations: Sequence[Evaluation]) -> str:
    """Formats the computed values for the log."""
    return ", ".join(
        f"{each.name} {'—' if each.value is None else f'{each.value:.4g}'}" for each in evaluations
    )


if __name__ == "__main__":
    worker_process.run(sys.argv[1:], compute_missing_metrics)
