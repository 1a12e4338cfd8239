"""Records metrics, samples and checkpoints of a run, tolerating disk and database failures.

Metric points wait in memory while the database is unavailable. If a checkpoint cannot be written,
training continues until the next checkpoint. The notes of the attempt contain such failures.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import DatabaseUnavailableError, EngineError
from engine.images import grids
from engine.records.curves import Alert, MetricPoint
from engine.records.runs import Checkpoint, Job, Sample
from engine.report import alerts
from engine.settings import PROGRAM, Settings
from engine.store import Store, utc_now
from engine.system.files import delete_leftovers
from engine.training import checkpoint
from engine.training.loop import StepsDone
from engine.training.state import TrainingState
from engine.workers.worker_process import Progress, ShouldStop, StoppedError, retry_until_written

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROGRESS_EVERY_S = 2.0
KEEP_NEWEST = 2  # two, since the newest checkpoint may turn out to be damaged
MAX_CHECKPOINT_FAILURES = 3  # in a row
NOTED_DELAY_S = 10.0  # metric points that waited this long for the database are noted


class Recorder:
    """Records one attempt of a run, under the token of its job.

    Attributes:
        last_event_at: the time of the last event of the training loop, in seconds since 1970.
    """

    def __init__(self, store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> None:
        assert job.run_id is not None, "a training job has a run"
        self.store, self.settings, self.job, self.run_id = store, settings, job, job.run_id
        self.should_stop = should_stop
        self.folder = settings.run_dir(self.run_id)
        self.checkpoints = self.folder / "checkpoints"
        self.last_event_at = time.time()
        n_epochs = store.runs.read(self.run_id).config.budget.epochs
        self._monitor = alerts.CurveMonitor(self.run_id, n_epochs)
        self._pending: list[MetricPoint] = []
        self._pending_since = 0.0  # monotonic time of the first failed write; 0 if none failed
        self._alerts: list[Alert] = []
        self._n_failures = 0

    def prepare(self) -> None:
        """Makes the run's folder and deletes the half-written files of a killed attempt."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        delete_leftovers(self.folder)

    def write(self, write: Callable[[], T]) -> T:
        """Retries a write until the database accepts it; raises `StoppedError` on a stop request.

        Use this method only for writes that must not be lost.
        """
        return retry_until_written(write, self.check_stop)

    def check_stop(self, where: str = "") -> None:
        """Raises `StoppedError` if a stop was requested."""
        if self.should_stop():
            raise StoppedError(where)

    def add_note(self, note: str) -> None:
        """Appends a note for users to the attempt, and logs it as a warning."""
        logger.warning("%s", note)
        self.write(lambda: self.store.runs.add_note(self.job, note, utc_now()))

    def set_phase(self, phase: str) -> None:
        """Logs the run's phase and stores it, if the database is available."""
        logger.info("%s", phase)
        self._store_phase(phase)

    def track_progress(self, phase: str, n_items: int, unit: str = "") -> Callable[[int], None]:
        """Sets the run's phase; returns a callback that updates its progress.

        Args:
            phase: the phase, for example "packing".
            n_items: the number of images, or of other items, that the phase processes.
            unit: the unit of the items; empty for images.

        Returns:
            A function that takes the number of items that are done. It raises `StoppedError` on a
            stop request.
        """
        self.set_phase(phase)
        progress = Progress(
            lambda done, total: self._store_phase(f"{phase}: {done} of {total}{unit}"),
            PROGRESS_EVERY_S,
            self.should_stop,
            where=f" while {phase}",
        )
        return lambda done: progress.update(done, n_items)

    def _store_phase(self, phase: str) -> None:
        try:
            self.store.runs.set_phase(self.job, phase, utc_now())
        except DatabaseUnavailableError as error:
            logger.warning("the phase was not stored: %s", error)

    def add_steps(self, event: StepsDone) -> None:
        """Records the losses of steps, and the run's progress.

        An event holds the steps of about one second. The recorded times of the steps are spread
        evenly over the time since the last event.
        """
        last_event_at, self.last_event_at = self.last_event_at, time.time()
        step_s = (self.last_event_at - last_event_at) / max(1, len(event.recorded))
        points = [
            MetricPoint(
                self.run_id, recorded.step, event.epoch, name, value, at=last_event_at + step_s * n
            )
            for n, recorded in enumerate(event.recorded, 1)
            for name, value in recorded.losses.items()
        ]
        self.add_points(event.epoch - 1, event.step, points)

    def add_points(self, epoch: int, step: int, points: Sequence[MetricPoint]) -> None:
        """Records metric points and the run's progress; keeps points in memory after a failure.

        Args:
            epoch: the number of complete epochs.
            step: the number of steps that are done.
            points: the new points.
        """
        self._pending += points
        try:
            self._write_points(epoch, step)
        except DatabaseUnavailableError as error:
            if not self._pending_since:
                self._pending_since = time.monotonic()
                logger.warning("metric points wait in memory: %s", error)

    def require_points(self, epoch: int, step: int, points: Sequence[MetricPoint]) -> None:
        """Records metric points and all pending points; retries until the database accepts them.

        The points of an epoch must be recorded before its checkpoint is written: a run that
        continues from this checkpoint does not repeat the epoch.

        Args:
            epoch: the number of complete epochs.
            step: the number of steps that are done.
            points: the new points.
        """
        self._pending += points
        self.write(lambda: self._write_points(epoch, step))

    def _write_points(self, epoch: int, step: int) -> None:
        self.store.curves.add_points(self.job, epoch, step, self._pending, utc_now())
        self._alerts += self._monitor.add(self._pending)
        n_written, self._pending = len(self._pending), []
        if self._pending_since:
            waited_s, self._pending_since = time.monotonic() - self._pending_since, 0.0
            if waited_s >= NOTED_DELAY_S:
                self.add_note(
                    f"{n_written:,} metric points waited {waited_s:.0f} s for the database"
                )
        if self._alerts:
            self.store.curves.add_alerts(self.job, self._alerts, utc_now())
            self._alerts = []

    def add_sample(
        self,
        epoch: int,
        step: int,
        sources: NDArray[np.uint8],
        targets: NDArray[np.uint8],
        fakes: NDArray[np.uint8],
    ) -> None:
        """Writes and records the samples of an epoch; adds a note if they cannot be written.

        Args:
            epoch: the number of complete epochs.
            step: the number of steps that are done.
            sources: [N, px, px, C].
            targets: [N, px, px, 3].
            fakes: [N, px, px, 3].
        """
        try:
            files = grids.save_samples(self.folder / "samples", epoch, sources, targets, fakes)
        except OSError as error:
            self.add_note(f"the samples of epoch {epoch} could not be written: {error.strerror}")
            return
        relative = self.settings.relative
        sample = Sample(
            run_id=self.run_id,
            epoch=epoch,
            step=step,
            grid=relative(files.grid),
            source=relative(files.source),
            target=relative(files.target),
            fake=relative(files.fake),
            thumbnail=relative(files.thumbnail),
        )
        self.write(lambda: self.store.runs.add_sample(self.job, sample, utc_now()))

    def save(self, state: TrainingState, keep_every: int, is_last: bool = False) -> bool:
        """Writes and records a checkpoint, and deletes old checkpoints.

        Args:
            state: the training state between two steps.
            keep_every: keep every n-th epoch's checkpoint permanently; 0 keeps none.
            is_last: this is the run's last checkpoint, so a failure is an error.

        Returns:
            Whether the checkpoint was written.

        Raises:
            EngineError: the last checkpoint, or `MAX_CHECKPOINT_FAILURES` in a row, could not be
                written.
        """
        if self._pending:
            retry_until_written(lambda: self._write_points(state.epoch, state.step))
        is_epoch_end = not state.batches
        name = f"epoch-{state.epoch:05d}" if is_epoch_end else f"step-{state.step:08d}"
        # The attempt is part of the name, so that two attempts never write to the same file.
        path = self.checkpoints / f"{name}-{self.job.attempt}.pt"
        try:
            if not self.checkpoints.is_dir():
                raise FileNotFoundError(2, f"the folder {self.checkpoints} is gone")
            sha256, n_bytes = checkpoint.save(state.state_dict(), path)
        except torch.OutOfMemoryError:
            raise
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError for a full disk
            self._n_failures += 1
            reason = _disk_error(error)
            if is_last or self._n_failures >= MAX_CHECKPOINT_FAILURES:
                raise EngineError(
                    f"the checkpoint of step {state.step} could not be written ({reason}), "
                    f"{self._n_failures} in a row; fix the cause and resume"
                ) from error
            self.add_note(f"the checkpoint of step {state.step} could not be written ({reason})")
            return False
        self._n_failures = 0
        logger.debug("wrote %s, %d bytes", path.name, n_bytes)
        record = Checkpoint(
            *(self.run_id, state.epoch, state.step, is_epoch_end),
            *(self.settings.relative(path), sha256, n_bytes),
            is_best=False,
        )
        self._delete_files(
            retry_until_written(lambda: self.store.checkpoints.add(self.job, record, utc_now()))
        )
        self.delete_old_checkpoints(KEEP_NEWEST, keep_every)
        return True

    def delete_old_checkpoints(self, keep_newest: int, keep_every: int) -> None:
        """Deletes the records and files of checkpoints that are not kept.

        Args:
            keep_newest: the number of newest checkpoints to keep; the best is always kept.
            keep_every: keep every n-th epoch's checkpoint; 0 keeps none.
        """
        delete_old = self.store.checkpoints.delete_old
        self._delete_files(
            retry_until_written(lambda: delete_old(self.job, keep_newest, keep_every, utc_now()))
        )

    def _delete_files(self, records: Sequence[Checkpoint]) -> None:
        for record in records:
            (self.settings.artifacts / record.path).unlink(missing_ok=True)

    def load_latest(
        self, state: TrainingState, n_epochs: int
    ) -> tuple[TrainingState, Checkpoint | None]:
        """Loads the newest readable checkpoint and deletes later checkpoints and results.

        Later evaluations and alerts are deleted. Later metric points are kept until the repeated
        steps overwrite them. A note is added for each checkpoint that could not be read.

        Args:
            state: a new state, into which the checkpoint is loaded.
            n_epochs: the total number of epochs of the run.

        Returns:
            The state, and the record of the checkpoint; None if the run has no checkpoint.

        Raises:
            EngineError: no checkpoint can be read, or the optimisers were pruned.
        """
        records = self.store.checkpoints.read(self.run_id)
        loaded, errors = self._load_first_readable(state, records)
        hint = f"`{PROGRAM} retry {self.run_id}` begins again"
        if records and loaded is None:
            # The disk may not be mounted, so keep the records.
            raise EngineError(
                f"no checkpoint can be read: {errors[0]} Bring the files back and resume, or {hint}"
            )
        if not state.is_trainable and state.epoch < n_epochs:
            raise EngineError(
                f"the optimisers of run {self.run_id} were pruned: it cannot be trained further. "
                f"{hint}"
            )
        for error in errors:
            self.add_note(error)
        if errors:
            self.add_note(f"continued from step {state.step}, the newest readable checkpoint")
        elif state.step:
            logger.info("continuing after step %d", state.step)
        rewind = self.store.runs.rewind
        self._delete_files(self.write(lambda: rewind(self.job, state.epoch, state.step, utc_now())))
        if state.step:
            points = self.store.curves.read([self.run_id], names=alerts.MONITORED_CURVES)
            self._monitor.add(point for point in points if point.step <= state.step)
        self._delete_unrecorded_checkpoints()
        return state, loaded

    def _load_first_readable(
        self, state: TrainingState, records: Sequence[Checkpoint]
    ) -> tuple[Checkpoint | None, list[str]]:
        """Loads the first readable checkpoint into `state`.

        Returns:
            Its record, None if none is readable, and the errors of the checkpoints before it.
        """
        errors: list[str] = []
        for record in records:
            try:
                saved = checkpoint.load_from_record(self.settings.artifacts, record)
                state.load_state_dict(saved)
                return record, errors
            except EngineError as error:
                errors.append(str(error))
        return None, errors

    def _delete_unrecorded_checkpoints(self) -> None:
        """Deletes the checkpoint files of earlier attempts for which there is no record.

        Files of later attempts are kept, because another attempt may own the job by now.
        """
        recorded = {record.path for record in self.store.checkpoints.read(self.run_id)}
        for path in self.checkpoints.glob("*.pt"):
            attempt = path.stem.rpartition("-")[2]
            is_earlier = attempt.isdecimal() and int(attempt) < self.job.attempt
            if is_earlier and self.settings.relative(path) not in recorded:
                path.unlink(missing_ok=True)


def _disk_error(error: BaseException) -> str:
    """Returns the message of the operating system, which torch may wrap in a RuntimeError."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0][:120]
