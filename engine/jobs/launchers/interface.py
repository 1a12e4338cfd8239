"""What a launcher does."""

from typing import Literal, Protocol

from engine.errors import EngineError
from engine.records.runs import Job

# How a job's process stands: at work (or waiting to be), or what it returned, negative for a
# signal; `unknown` where this launcher cannot tell, and heartbeats must.
Status = Literal["alive", "unknown"] | int


class NotNowError(EngineError):
    """A job could not be started for now; it goes back into the queue."""


class Launcher(Protocol):
    """Starts processes of claimed jobs, and knows how they stand."""

    def is_ready(self) -> bool:
        """Whether it takes jobs now; while it does not, they stay in the queue."""
        ...

    def submit(self, job: Job, gpu: str | None) -> str:
        """Starts the process of one attempt, once however often it is asked; who it is.

        Args:
            job: claimed; its token tells the attempt.
            gpu: the GPUs that it may see, with commas; None: as the launcher has it.

        Raises:
            NotNowError: not for now.
            EngineError: it could not be started.
        """
        ...

    def poll(self, job: Job) -> Status:
        """How the process of an attempt stands."""
        ...

    def stop(self, job: Job, by_force: bool) -> None:
        """Asks it to save and leave; by force: ends it."""
        ...

    def logs(self, job: Job) -> str:
        """The last that it has said."""
        ...

    def tidy(self, at_work: set[str]) -> None:
        """Forgets attempts whose tokens are not among those at work."""
        ...
