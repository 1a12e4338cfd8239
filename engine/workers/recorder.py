"""What a run leaves behind: figures, samples and checkpoints, whatever disk and database do.

Figures wait in memory while the database is busy. A checkpoint that cannot be written is tried
again after the next epoch. What a person should know of that is noted with the attempt.
"""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import EngineError, StoreError
from engine.images import grids
from engine.records.curves import Alert, MetricPoint
from engine.records.runs import Checkpoint, Job, Sample
from engine.report import alerts
from engine.settings import Settings
from engine.store import GoneDatabaseError, Store, utc_now
from engine.system.files import sweep_partial
from engine.training import checkpoint
from engine.training.loop import StepsDone
from engine.training.state import TrainingState
from engine.workers.worker_process import ShouldStop, StoppedError, patiently

T = TypeVar("T")

PROGRESS_S = 2.0  # between two words on how far something is
NEWEST = 2  # checkpoints that are kept beside the best: one may turn out to be damaged
MOST_FAILURES = 3  # checkpoints in a row that could not be written
NOTED_WAIT_S = 10.0  # for the database, from which on it is noted


class Recorder:
    """Records one attempt at one run, under its job's token."""

    def __init__(self, store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> None:
        assert job.run_id is not None, "a training job has a run"
        self.store, self.settings, self.job, self.run_id = store, settings, job, job.run_id
        self.should_stop = should_stop
        self.folder = settings.run_dir(self.run_id)
        self.checkpoints = self.folder / "checkpoints"
        self.told_at = time.time()  # of the last steps
        self._waiting: list[MetricPoint] = []
        self._alerts: list[Alert] = []
        self._watch = alerts.Watch(self.run_id, store.read_run(self.run_id).config.budget.epochs)
        self._waiting_since = 0.0
        self._failures = 0

    def prepare(self) -> None:
        """Makes the run's folder and removes what a killed attempt left half-written in it."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        sweep_partial(self.folder)

    def write(self, write: Callable[[], T]) -> T:
        """Writes what the run cannot go on without."""
        return patiently(write, self.check_stop)

    def check_stop(self, where: str = "") -> None:
        """Raises `StoppedError` if somebody asked for it."""
        if self.should_stop():
            raise StoppedError(where)

    def note(self, note: str) -> None:
        """Says something that a person should know."""
        print(note, flush=True)
        self.write(lambda: self.store.add_note(self.job, note, utc_now()))

    def phase(self, phase: str) -> None:
        """Says what the run is doing; a busy database does not hear it."""
        print(phase, flush=True)
        self._mention(phase)

    def progress(self, doing: str, n_pictures: int) -> Callable[[int], None]:
        """Says that it is doing something with pictures; what is returned says how far it is."""
        self.phase(doing)
        told = time.monotonic()

        def tell(done: int) -> None:
            nonlocal told
            self.check_stop(f" while {doing}")
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                self._mention(f"{doing}: {done} of {n_pictures}")

        return tell

    def _mention(self, phase: str) -> None:
        try:
            self.store.set_phase(self.job, phase, utc_now())
        except GoneDatabaseError:
            raise
        except StoreError as error:
            print(f"not told to the database: {error}", flush=True)

    def add_steps(self, event: StepsDone) -> None:
        """Records the losses of steps, and progress.

        Steps are told of about once a second: they are spread over the time since the last word.
        """
        since, self.told_at = self.told_at, time.time()
        share = (self.told_at - since) / max(1, len(event.recorded))
        points = [
            MetricPoint(
                self.run_id, recorded.step, event.epoch, name, value, at=since + share * number
            )
            for number, recorded in enumerate(event.recorded, 1)
            for name, value in recorded.losses.items()
        ]
        self.add_points(event.epoch - 1, event.step, points)

    def add_points(self, epoch: int, step: int, points: Sequence[MetricPoint]) -> None:
        """Records points of curves and the run's progress, or keeps them for the next time."""
        self._waiting += points
        try:
            self._write_points(epoch, step)
        except GoneDatabaseError:
            raise
        except StoreError as error:
            if not self._waiting_since:
                self._waiting_since = time.monotonic()
                print(f"figures wait in memory: {error}", flush=True)

    def require_points(self, epoch: int, step: int, points: Sequence[MetricPoint]) -> None:
        """The same at an epoch's end: figures come before the checkpoint that they led to."""
        self._waiting += points
        self.write(lambda: self._write_points(epoch, step))

    def _write_points(self, epoch: int, step: int) -> None:
        self.store.add_metrics(self.job, epoch, step, self._waiting, utc_now())
        self._alerts += self._watch.look(self._waiting)
        count, self._waiting = len(self._waiting), []
        if self._waiting_since:
            waited, self._waiting_since = time.monotonic() - self._waiting_since, 0.0
            if waited >= NOTED_WAIT_S:
                self.note(f"{count:,} figures waited {waited:.0f} s for the database")
        if self._alerts:
            self.store.add_alerts(self.job, self._alerts, utc_now())
            self._alerts = []

    def add_sample(
        self,
        epoch: int,
        step: int,
        sources: NDArray[np.uint8],
        targets: NDArray[np.uint8],
        fakes: NDArray[np.uint8],
    ) -> None:
        """Keeps the pictures of an epoch; a full disk costs them, not the run."""
        try:
            files = grids.save_samples(self.folder / "samples", epoch, sources, targets, fakes)
        except OSError as error:
            self.note(f"the samples of epoch {epoch} could not be written: {error.strerror}")
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
        self.write(lambda: self.store.add_sample(self.job, sample, utc_now()))

    def save(self, state: TrainingState, every: int, is_last: bool = False) -> bool:
        """Saves the state, and removes the checkpoints that are kept no longer.

        Args:
            state: between two steps.
            every: every so-manyth epoch's checkpoint is kept for good; 0: none for that.
            is_last: nothing comes after it, so that it must not fail.

        Returns:
            Whether it is on the disk.

        Raises:
            EngineError: it could not be written, three times in a row.
        """
        if self._waiting:
            patiently(lambda: self._write_points(state.epoch, state.step))
        is_whole = not state.batches
        number = f"epoch-{state.epoch:05d}" if is_whole else f"step-{state.step:08d}"
        # Each attempt writes files of its own: a row never speaks of another one's file.
        path = self.checkpoints / f"{number}-{self.job.attempt}.pt"
        try:
            if not self.checkpoints.is_dir():
                raise FileNotFoundError(2, f"the folder {self.checkpoints} is gone")
            sha256, n_bytes = checkpoint.save(state.state_dict(), path)
        except torch.OutOfMemoryError:
            raise
        except (OSError, RuntimeError) as error:  # torch hides a full disk in a RuntimeError
            self._failures += 1
            reason = _disk_fault(error)
            if is_last or self._failures >= MOST_FAILURES:
                raise EngineError(
                    f"the checkpoint of step {state.step} could not be written ({reason}), "
                    f"{self._failures} in a row; mend that and resume"
                ) from error
            self.note(f"the checkpoint of step {state.step} could not be written ({reason})")
            return False
        self._failures = 0
        name = self.settings.relative(path)
        saved = Checkpoint(
            *(self.run_id, state.epoch, state.step, is_whole, name, sha256, n_bytes),
            is_best=False,
        )
        self._remove(patiently(lambda: self.store.add_checkpoint(self.job, saved, utc_now())))
        self.tidy(NEWEST, every)
        return True

    def tidy(self, newest: int, every: int) -> None:
        """Forgets checkpoints that are kept no longer, and removes their files."""
        forget = self.store.forget_checkpoints
        self._remove(patiently(lambda: forget(self.job, newest, every, utc_now())))

    def _remove(self, forgotten: Sequence[Checkpoint]) -> None:
        for saved in forgotten:
            (self.settings.artifacts / saved.path).unlink(missing_ok=True)

    def load_latest(self, state: TrainingState, epochs: int) -> Checkpoint | None:
        """Continues from the newest checkpoint that is whole; says which are not.

        What was judged after it is forgotten: it is done again.

        Args:
            state: fresh; is what was saved afterwards.
            epochs: that the run is to have.

        Returns:
            The checkpoint; None: the run begins.

        Raises:
            EngineError: there are checkpoints and none can be read, or trained further.
        """
        recorded = self.store.read_checkpoints(self.run_id)
        damaged, loaded = [], None
        for saved in recorded:
            try:
                state.load_state_dict(checkpoint.load_saved(self.settings.artifacts, saved))
                loaded = saved
                break
            except EngineError as error:
                damaged.append(str(error))
        way_out = f"`python -m engine retry {self.run_id}` begins again"
        if recorded and len(damaged) == len(recorded):
            # It may be the disk that is not there: nothing is forgotten.
            raise EngineError(
                f"no checkpoint can be read: {damaged[0]} Bring the files back and resume, or "
                f"{way_out}"
            )
        if not state.is_trainable and state.epoch < epochs:
            raise EngineError(
                f"the optimisers of run {self.run_id} were pruned: it cannot be trained further. "
                f"{way_out}"
            )
        for fault in damaged:
            self.note(fault)
        if damaged:
            self.note(f"continued from step {state.step}, the newest checkpoint that is whole")
        elif state.step:
            print(f"continuing after step {state.step}", flush=True)
        rewind = self.store.rewind
        self._remove(self.write(lambda: rewind(self.job, state.epoch, state.step, utc_now())))
        if state.step:
            known = self.store.read_metrics([self.run_id], names=alerts.WATCHED)
            self._watch.look(it for it in known if it.step <= state.step)
        self._sweep_earlier()
        return loaded

    def _sweep_earlier(self) -> None:
        """Removes checkpoints that killed attempts wrote without recording them.

        Later attempts' files are not touched: this process may have lost its job meanwhile.
        """
        kept = {it.path for it in self.store.read_checkpoints(self.run_id)}
        for path in self.checkpoints.glob("*.pt"):
            number = path.stem.rpartition("-")[2]
            is_earlier = number.isdecimal() and int(number) < self.job.attempt
            if is_earlier and self.settings.relative(path) not in kept:
                path.unlink(missing_ok=True)


def _disk_fault(error: BaseException) -> str:
    """The operating system's word on it, which torch wraps."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError):
            return inner.strerror or str(inner)
        inner = inner.__cause__ or inner.__context__
    return str(error).splitlines()[0][:120]
