"""Trains and evaluates one run: iterates the training loop and records its events.

The supervisor starts it through `engine.workers`, with the arguments JOB TOKEN.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch

from engine.config import REPORTED_SPLIT, Budget, RunConfig
from engine.data import batches
from engine.data.batches import PairSet
from engine.errors import EngineError
from engine.evaluation import checkpoint_evaluator, evaluate
from engine.evaluation.checkpoint_evaluator import CheckpointEvaluator
from engine.networks import backbones
from engine.records.curves import MetricPoint
from engine.records.runs import Checkpoint, Evaluation, Job, RunState
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.training import checkpoint, execution, loop
from engine.training.distributed import ProcessGroup
from engine.training.losses import FeatureExtractor
from engine.training.source_feature_cache import SourceFeatureCache
from engine.training.state import TrainingState, build_state
from engine.workers import follower, setup, worker_process
from engine.workers.recorder import Recorder
from engine.workers.worker_process import End, ShouldStop, StoppedError

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 600.0  # between two checkpoints within an epoch
N_SAMPLES = 8
# torchrun sends SIGTERM to all ranks within this time after one of them has ended.
PEER_EXIT_GRACE_S = 20.0


def main(arguments: Sequence[str]) -> int:
    """Runs one rank of a run; without `torchrun` it is the only process of the run.

    Args:
        arguments: the id and the token of the job.

    Returns:
        The exit status.
    """
    if int(os.environ.get("RANK", 0)):
        return follower.main()
    state = worker_process.run(arguments, train)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and state != RunState.DONE:
        # The other ranks may still wait for this rank. Exit with status 1, so that torchrun ends
        # them, and skip the normal shutdown, during which NCCL would wait for the other ranks.
        os._exit(1)
    return 0


def train(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Trains and evaluates the run of a job."""
    group = ProcessGroup.join()
    training_job = TrainingJob(store, settings, job, should_stop, group)
    try:
        end = training_job.run()
        group.close()
        return end
    except torch.OutOfMemoryError:
        logger.exception("the training ends")
        batch = training_job.run_record.config.budget.batch
        hint = f"try {batch // 2}" if batch > 1 else "try smaller pictures"
        return RunState.FAILED, f"out of GPU memory at batch {batch}; {hint}"
    except RuntimeError:
        # Communication with a rank that was killed raises RuntimeError, and torchrun then sends
        # SIGTERM to this process.
        if group.size == 1 or not _wait_until(should_stop, PEER_EXIT_GRACE_S):
            raise
        logger.exception("the training ends")
        return RunState.CRASHED, "another process of the run was killed"
    finally:
        group.stop_followers()


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


class TrainingJob:
    """The job of a run, from the preparation of the data to the evaluation on the test split."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        job: Job,
        should_stop: ShouldStop,
        group: ProcessGroup,
    ) -> None:
        self.store, self.settings, self.job, self.group = store, settings, job, group
        self.recorder = Recorder(store, settings, job, should_stop)
        self.run_id = self.recorder.run_id
        self.run_record = store.runs.read(self.run_id)

    def run(self) -> End:
        """Prepares, trains and evaluates the run.

        Raises:
            StoppedError: a stop was requested.
            EngineError: the run failed, with the reason.
        """
        # Prepare the weights, the data, the device and the networks.
        recorder = self.recorder
        recorder.prepare()
        setup.fetch_weights(recorder, self.run_record.config)
        recorder.set_phase("preparing data")
        packed = setup.prepare_data(recorder, self.run_record)
        config = setup.resolve_config(recorder, self.run_record, packed, self.group)
        device = execution.choose_device(config.execution.device)
        evaluator = CheckpointEvaluator(
            self.settings,
            self.run_id,
            config,
            packed.fingerprint,
            evaluate.load_feature_metrics(self.settings, device),
        )
        labels = setup.load_region_labels(config, packed, self.settings, recorder.track_progress)
        pairs, val_pairs, test_pairs = (
            batches.load_pair_set(packed, split, limit, device, labels)
            for split, limit in (
                ("train", config.budget.n_train),
                ("val", config.budget.n_val),
                ("test", config.budget.n_test),
            )
        )
        extract = backbones.build_feature_extractor(config, self.settings, device)
        state = build_state(
            config,
            device,
            setup.encoder_weights_path(config, self.settings),
            setup.reader_weights_path(config, self.settings),
        )
        features = setup.load_source_features(
            config, state.generator, pairs, packed, self.settings, recorder.track_progress
        )

        # Continue from the newest checkpoint, on all ranks.
        state, saved = recorder.load_latest(state, config.budget.epochs)
        self.group.broadcast_setup(
            {
                "config": config.model_dump(mode="json"),
                "checkpoint": None if saved is None else (saved.path, saved.sha256),
            }
        )
        for network in state.networks:
            self.group.sync_batch_norm(network)

        # Train. If the last attempt ended before it validated its last epoch, validate that epoch.
        recorder.set_phase(setup.warm_up_phase(config) or "training")
        if state.epoch and not state.batches:
            self.validate(state, evaluator, val_pairs)
        self.train(config, state, evaluator, pairs, val_pairs, extract, features)
        self.group.stop_followers()

        # Evaluate on the test split.
        recorder.set_phase("evaluating")
        self.evaluate(state, evaluator, test_pairs)
        recorder.delete_old_checkpoints(1, config.execution.keep_every)
        return RunState.DONE, None

    def train(
        self,
        config: RunConfig,
        state: TrainingState,
        evaluator: CheckpointEvaluator,
        pairs: PairSet,
        val_pairs: PairSet,
        extract: FeatureExtractor,
        source_features: SourceFeatureCache | None,
    ) -> None:
        """Iterates the training loop and records its events.

        On a stop request, saves a checkpoint between two steps and raises `StoppedError`.

        Args:
            config: the config, without any `auto`.
            state: the state to continue from; updated in place.
            evaluator: evaluates the checkpoints.
            pairs: the training split.
            val_pairs: the validation split.
            extract: images -> feature maps, for recipes with a perceptual term.
            source_features: the cached features of the sources; None: there are none.

        Raises:
            StoppedError: a stop was requested.
        """
        recorder, keep_every = self.recorder, config.execution.keep_every
        saved_at = time.monotonic()
        is_warming_up = setup.warm_up_phase(config) is not None
        recorder.last_event_at = time.time()
        for event in loop.train(
            config, state, pairs, val_pairs, extract, self.group, source_features
        ):
            if isinstance(event, loop.EpochDone):
                self.record_epoch(event, evaluator, val_pairs)
                saved_at, recorder.last_event_at = time.monotonic(), time.time()
                if state.epoch < config.budget.epochs:
                    recorder.check_stop(f" at epoch {state.epoch}")
                continue
            if isinstance(event, loop.WarningEvent):
                recorder.add_note(event.text)
                continue
            if is_warming_up:
                recorder.set_phase("training")
                is_warming_up = False
            recorder.add_steps(event)
            is_stopping = recorder.should_stop()
            if is_stopping or time.monotonic() - saved_at > SAVE_EVERY_S:
                recorder.save(state, keep_every)
                saved_at = time.monotonic()
            if is_stopping:
                raise StoppedError(f" at epoch {event.epoch}, step {state.step}")

    def record_epoch(
        self, event: loop.EpochDone, evaluator: CheckpointEvaluator, val_pairs: PairSet
    ) -> None:
        """Records the metrics and samples of an epoch, its checkpoint and its validation."""
        now = time.time()
        points = [
            MetricPoint(self.run_id, event.step, event.epoch, name, value, at=now)
            for name, value in event.metrics.items()
        ]
        recorder, state, config = self.recorder, event.state, evaluator.config
        recorder.require_points(event.epoch, event.step, points)
        sample_pairs = batches.pick_sample_pairs(val_pairs, N_SAMPLES)
        fakes = evaluate.predict(config, state.sampler, sample_pairs)
        sources, targets = sample_pairs.sources.cpu().numpy(), sample_pairs.targets.cpu().numpy()
        recorder.add_sample(event.epoch, event.step, sources, targets, fakes)
        is_last = event.epoch == config.budget.epochs
        if recorder.save(state, config.execution.keep_every, is_last):
            self.validate(state, evaluator, val_pairs)

    def validate(
        self, state: TrainingState, evaluator: CheckpointEvaluator, val_pairs: PairSet
    ) -> None:
        """Validates the checkpoint of an epoch, if due, and marks the best checkpoint so far.

        If the budget evaluates only the last epoch, the last checkpoint is marked as the best
        without a validation.
        """
        budget = evaluator.config.budget
        if state.epoch not in budget.evaluated_epochs:
            return
        if len(budget.evaluated_epochs) == 1:
            self.mark_best(state.epoch)
            return
        evaluations = self._validation_results(state, evaluator, val_pairs)
        records = self.store.checkpoints.read(self.run_id)
        best = _best_epoch(evaluations, records, budget)
        if best is None and state.epoch == budget.epochs:
            logger.warning("no epoch has a %s: the last is taken", budget.choose_by)
            best = state.epoch
        if best is not None:
            self.mark_best(best)

    def _validation_results(
        self, state: TrainingState, evaluator: CheckpointEvaluator, val_pairs: PairSet
    ) -> Sequence[Evaluation]:
        """Returns the validation results of all epochs so far; evaluates this epoch if needed."""
        evaluations = self.store.evaluations.read([self.run_id], "val")
        if any(evaluation.epoch == state.epoch for evaluation in evaluations):
            return evaluations
        on_progress = self.recorder.track_progress(
            f"validating epoch {state.epoch}", len(val_pairs)
        )
        result = evaluator.validate(state, val_pairs, on_progress)
        self.recorder.write(lambda: self.store.evaluations.add(self.job, result, utc_now()))
        self.recorder.set_phase("training")
        return [*evaluations, *result.evaluations]

    def mark_best(self, epoch: int) -> None:
        """Marks the checkpoint of an epoch as the best of the run."""
        self.recorder.write(lambda: self.store.checkpoints.choose(self.job, epoch, utc_now()))

    def evaluate(
        self, state: TrainingState, evaluator: CheckpointEvaluator, pairs: PairSet
    ) -> None:
        """Evaluates the best and the last checkpoint on the reported split."""
        machine = execution.describe_environment(pairs.device)
        self.ensure_readable_best(evaluator.config.budget)
        last_epoch = evaluator.config.budget.epochs
        for record in self.store.checkpoints.read(self.run_id):
            if not record.is_whole or not (record.is_best or record.epoch == last_epoch):
                continue
            if record.epoch != state.epoch:
                state.load_state_dict(checkpoint.load_from_record(self.settings.artifacts, record))
            role = "chosen" if record.is_best else "last"
            on_progress = self.recorder.track_progress(
                f"evaluating the {role} epoch, {record.epoch}", len(pairs)
            )
            result = evaluator.evaluate(state, REPORTED_SPLIT, pairs, machine, on_progress)
            self.recorder.write(partial(self.store.evaluations.add, self.job, result, utc_now()))

    def ensure_readable_best(self, budget: Budget) -> None:
        """Replaces the best checkpoint by the next best one while its file cannot be read.

        The file of the last checkpoint is not read, because its state is in memory.
        """
        read_best = self.store.checkpoints.read_best
        while (best := read_best(self.run_id)) is not None and best.epoch != budget.epochs:
            try:
                checkpoint.load_from_record(self.settings.artifacts, best)
                return
            except EngineError as error:
                self.recorder.add_note(str(error))
            self._replace_best(best, budget)

    def _replace_best(self, best: Checkpoint, budget: Budget) -> None:
        """Deletes the record of the best checkpoint and marks the next best one."""
        self.recorder.write(partial(self.store.checkpoints.delete, self.job, best, utc_now()))
        evaluations = self.store.evaluations.read([self.run_id], "val")
        records = self.store.checkpoints.read(self.run_id)
        epoch = _best_epoch(evaluations, records, budget) or budget.epochs
        self.recorder.add_note(f"epoch {epoch} was chosen in its place")
        self.mark_best(epoch)


def _best_epoch(
    evaluations: Iterable[Evaluation], records: Sequence[Checkpoint], budget: Budget
) -> int | None:
    """Returns the best epoch whose checkpoint is kept; None if no such epoch has a value."""
    kept_epochs = {record.epoch for record in records if record.is_whole}
    kept = [evaluation for evaluation in evaluations if evaluation.epoch in kept_epochs]
    return checkpoint_evaluator.best_epoch(kept, budget.choose_by)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
