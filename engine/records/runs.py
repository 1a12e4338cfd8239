"""Records of studies, runs, jobs and evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from engine.config import Budget, RunConfig

DECODING = "decoding"  # the entry of a protocol that may differ between configurations
JobKind = Literal["train", "check", "probe", "evaluate", "export"]


class RunState(StrEnum):
    """The state of a run or job; commands and tables show the text."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    CRASHED = "crashed"
    DIVERGED = "diverged"

    def is_finished(self) -> bool:
        """Returns whether the run has ended: it is not queued, running or stopping."""
        return self not in (RunState.QUEUED, RunState.RUNNING, RunState.STOPPING)

    def is_active(self) -> bool:
        """Returns whether a process should be working on the run."""
        return self in (RunState.RUNNING, RunState.STOPPING)


@dataclass(frozen=True)
class Study:
    """A comparison of configurations on one data source with one budget over some seeds.

    Attributes:
        data: the text that names the data source, as commands take it (SOURCE).
        archived_at: when a user hid the study from the lists; None if it is not hidden.
    """

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
        reason: why the run ended in its state, in words for the user; None if no reason is needed.
        phase: the current phase, such as preparing data, training, evaluating.
        config: the requested config.
        resolved: the config with every `auto` replaced; None until the first attempt starts.
        epoch: the number of finished epochs, of `epochs`.
        step: the number of finished steps, of `steps`; `steps` is 0 until the data is prepared.
        best_epoch: the epoch whose checkpoint is the best on the validation split so far.
        environment: the versions of the software and the machine of the first attempt.
        attempt: the number of attempts so far.
        will_retry: whether the run crashed and will be retried automatically.
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
        """The finished share of the training, from 0 to 1."""
        return self.step / self.steps if self.steps else 0.0

    @property
    def is_over(self) -> bool:
        """Whether the run has ended and will not be retried automatically."""
        return self.state.is_finished() and not self.will_retry


def comparable_configs(runs: Sequence[Run]) -> list[RunConfig]:
    """Returns the config of each run: resolved if all runs have started, else as requested.

    A setting `auto` of a run that has not started would differ from every resolved value.
    """
    resolved = [run.resolved for run in runs if run.resolved is not None]
    return resolved if len(resolved) == len(runs) else [run.config for run in runs]


@dataclass(frozen=True)
class Attempt:
    """One attempt of a process to train a run.

    Attributes:
        number: 1 for the first attempt.
        host: the machine of the process.
        from_step: the step of the checkpoint that the attempt continued from; 0 if it started from
            the beginning.
        state: the state in which the attempt ended; None while the process is running. `queued`:
            the launcher did not take the job.
        reason: why the attempt ended in this state.
        note: events that the user should know, one per line, such as a damaged checkpoint.
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
    """One metric of one checkpoint on one split, with the protocol that makes it comparable.

    Attributes:
        value: the value in the unit of the metric; None if `missing` gives the reason.
        n_pictures: the number of pictures that the value was computed from.
        epoch: the epoch of the checkpoint.
        low: the lower end of the 95 % interval over pictures.
        high: the upper end of this interval.
        missing: the reason for an absent value.
        note: a warning about the value.
        reference: the metric of the targets themselves, if this value has a meaning.
        protocol: split, extractor and hash of its weights, resize rule, px, precision.
        halves: float32 values on random halves of the pictures, the same halves for every run.
            The difference of two configurations with one seed each is tested with these values.
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

    @property
    def decoding(self) -> str | None:
        """How the pictures were read from a palette; None if they were not."""
        decoding = self.protocol.get(DECODING)
        return None if decoding is None else str(decoding)


@dataclass(frozen=True)
class Predictions:
    """The stored fakes of one checkpoint on one split.

    Attributes:
        path: an .npy file of [N, px, px, 3] uint8, relative to the artifacts folder.
        names: the [N] names of the pairs, in the order of the file.
    """

    run_id: int
    split: str
    epoch: int
    path: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class ImageScore:
    """One metric of one picture of one checkpoint.

    Attributes:
        picture: the name of the pair.
    """

    run_id: int
    split: str
    epoch: int
    picture: str
    name: str
    value: float | None


@dataclass(frozen=True)
class CheckpointEvaluation:
    """All evaluation results of one checkpoint on one split; stored atomically."""

    evaluations: tuple[Evaluation, ...]
    scores: tuple[ImageScore, ...] = ()
    predictions: Predictions | None = None


@dataclass(frozen=True)
class Sample:
    """The sample pictures of one epoch; all runs of a study use the same validation pairs.

    Paths are relative to the artifacts folder.

    Attributes:
        grid: one row per pair: source, target, fake.
        source: the first column of the grid.
        target: the second column of the grid.
        fake: the third column of the grid.
        thumbnail: a few sources above their fakes.
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
        epoch: the number of finished epochs.
        step: the number of finished steps.
        is_whole: whether the checkpoint was saved at the end of an epoch, not in the middle.
        path: the file, relative to the artifacts folder.
        is_best: whether this is the best checkpoint on the validation split so far.
        is_slim: whether the file has no optimiser states; training cannot continue from such a
            file.
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
    """A piece of work in the queue.

    Attributes:
        kind: `train` trains a run, `check` scans a data source, `probe` measures speed, `evaluate`
            computes the missing metrics of a study, `export` uploads a study to MLflow.
        run_id: the run of a training job; None for other kinds.
        subject: the source of a `check` job, the workloads of a `probe` job as JSON, the id of the
            study of an `evaluate` job, or the id of an export; None for training jobs.
        reason: why the job ended in its state.
        progress: from 0 to 1; the progress of a training job is stored with its run.
        attempt: the number of claims so far.
        token: identifies the current attempt; only a process with this token may write.
        process: the identity of the worker process, or of the supervisor until the worker starts.
        host: the machine that claimed the job.
        slot: the slot of the machine that the job uses.
        retries: the number of automatic retries since the last action of a user.
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
