"""Defines the interface of a launcher."""

from typing import Literal, Protocol

from engine.errors import EngineError
from engine.records.runs import Job

# "alive": the process of a job runs, or waits for a machine. "unknown": this launcher cannot tell,
# so heartbeats decide. A number: the return code, negative if a signal ended the process.
Status = Literal["alive", "unknown"] | int


class LauncherUnavailableError(EngineError):
    """A job cannot be started at the moment; it is queued again."""


class Launcher(Protocol):
    """Starts the processes of claimed jobs, and polls and stops them."""

    def is_ready(self) -> bool:
        """Returns whether the launcher takes jobs now; if not, jobs stay in the queue."""
        ...

    def submit(self, job: Job, gpus: str | None) -> str:
        """Starts the process of one attempt; a second call with this attempt starts nothing.

        Args:
            job: a claimed job; its token identifies the attempt.
            gpus: the GPUs that the process may use, as CUDA_VISIBLE_DEVICES takes them; None: the
                launcher decides.

        Returns:
            The `ProcessId` of the process, as text.

        Raises:
            LauncherUnavailableError: the process cannot be started at the moment.
            EngineError: the process could not be started.
        """
        ...

    def poll(self, job: Job) -> Status:
        """Returns the status of an attempt's process."""
        ...

    def stop(self, job: Job, by_force: bool) -> None:
        """Asks the process to save and exit; by force: kills it."""
        ...

    def forget_ended(self, active_tokens: set[str]) -> None:
        """Drops what the launcher remembers of attempts that are not active any more."""
        ...
