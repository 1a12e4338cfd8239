"""What is known of studies, runs and their results: frozen records, no rows, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from engine.config import Budget, RunConfig

JobKind = Literal["train", "check", "probe"]


class RunState(StrEnum):
    """Where a run is in its life; the text is what commands and tables show."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    CRASHED = "crashed"
    DIVERGED = "diverged"

    def is_finished(self) -> bool:
        """Whether no process works on the run, nor waits to."""
        return self not in (RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)

    def is_active(self) -> bool:
        """Whether a process should be working on the run."""
        return self in (RunState.RUNNING, RunState.STOPPING)


@dataclass(frozen=True)
class Study:
    """One question: these configurations, on this data, with this budget, over these seeds."""

    id: int
    name: str
    data: str
    budget: Budget
    created_at: datetime
    archived_at: datetime | None = None
    note: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One training of one configuration with one seed.

    Attributes:
        reason: why it ended as it did, for a person; None when there is nothing to say.
        phase: what it is doing while it runs: preparing data, training, evaluating.
        config: as asked for; `resolved` with everything that was `auto` decided, once started.
        epoch, epochs, step, steps: done and in all; `steps` is 0 until the data is known.
        best_epoch: the epoch whose checkpoint validation chose so far.
        environment: versions and machine of the first attempt.
        attempt: how often a process has taken it up.
        will_retry: it crashed, and goes on by itself in a moment.
    """

    id: int
    study_id: int
    configuration: str
    seed: int
    state: RunState
    reason: str | None
    phase: str | None
    config: RunConfig
    resolved: RunConfig | None
    epoch: int
    epochs: int
    step: int
    steps: int
    best_epoch: int | None
    attempt: int
    environment: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress_at: datetime | None
    archived_at: datetime | None
    will_retry: bool
    note: str
    tags: tuple[str, ...]

    @property
    def progress(self) -> float:
        """The share of training done, 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to the run by itself."""
        return self.state.is_finished() and not self.will_retry


@dataclass(frozen=True)
class Attempt:
    """What one process did with a run.

    Attributes:
        number: 1 for the first.
        host: the machine it was on.
        from_step: the step it continued from, 0 for the beginning.
        state, reason: how it ended; None while it is at work.
        note: what a person should know of it: a checkpoint that was damaged, a long wait.
    """

    run_id: int
    number: int
    host: str | None
    from_step: int
    started_at: datetime
    ended_at: datetime | None
    state: RunState | None
    reason: str | None
    note: str | None


@dataclass(frozen=True)
class Evaluation:
    """One metric of one run on one split, with the protocol that makes it comparable.

    Attributes:
        value: None when `missing` says why there is none.
        low, high: a 95 % interval over pictures.
        n_pictures: how many pictures the value rests on.
        epoch: the checkpoint's.
        note: a warning or mark that goes with the value.
        reference: the same figure of the targets, where it has a meaning.
        protocol: split, extractor and hash of its weights, resize rule, px, precision.
        halves: float32 values on random halves of the pictures, the same halves for every run:
            what a difference of two runs with one seed is judged by.
    """

    run_id: int
    split: str
    name: str
    value: float | None
    n_pictures: int
    epoch: int
    low: float | None = None
    high: float | None = None
    missing: str | None = None
    note: str | None = None
    reference: float | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    halves: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Predictions:
    """The fakes of a split, made by one checkpoint.

    Attributes:
        path: [N, px, px, 3] bytes as an .npy file, relative to the artifacts folder.
        names: [N] of the pairs, in the file's order.
    """

    run_id: int
    split: str
    epoch: int
    path: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class ImageScore:
    """One metric of one picture of one run."""

    run_id: int
    split: str
    epoch: int
    picture: str
    name: str
    value: float | None


@dataclass(frozen=True)
class Judgement:
    """All that one checkpoint was found worth on one split; recorded whole or not at all."""

    evaluations: tuple[Evaluation, ...]
    scores: tuple[ImageScore, ...] = ()
    predictions: Predictions | None = None


@dataclass(frozen=True)
class Sample:
    """The pictures of one epoch, the same validation pairs for every run of a study.

    Paths are relative to the artifacts folder. `grid` has a row per pair: source, target, fake;
    `source`, `target` and `fake` are its columns; `thumbnail` has a few sources above their fakes.
    """

    run_id: int
    epoch: int
    step: int
    grid: str
    source: str
    target: str
    fake: str
    thumbnail: str
    id: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A saved training state.

    Attributes:
        epoch: whole epochs done; `is_whole` unless some steps of the next are done too.
        step: steps done.
        path: relative to the artifacts folder.
        is_best: whether validation chose it.
        is_slim: its optimisers were pruned: it can be used, but not trained further.
    """

    run_id: int
    epoch: int
    step: int
    is_whole: bool
    path: str
    sha256: str
    n_bytes: int
    is_best: bool
    is_slim: bool = False


@dataclass(frozen=True)
class Job:
    """A piece of work in the queue. `token` belongs to one attempt: who holds it may write.

    Attributes:
        kind: `train`, a run; `check`, looking at a source of pairs; `probe`, measuring speed.
        run_id: of a training job, else None.
        subject: of any other: the source it is about, or what is measured, as JSON.
        reason: why it ended as it did; a training job's is its run's.
        progress: 0 to 1; a training job's is its run's.
        process: who works on it, as `processes.identify` has it; at first its supervisor.
        host, slot: where it was claimed.
        retries: how often it went on by itself since a person last said so.
    """

    id: int
    kind: JobKind
    run_id: int | None
    subject: str | None
    state: RunState
    reason: str | None
    progress: float
    attempt: int
    token: str | None
    process: str | None
    host: str | None
    slot: str | None
    retries: int
    created_at: datetime
    heartbeat_at: datetime | None
    stop_requested_at: datetime | None
    kill_requested_at: datetime | None
