"""Several processes that train one run together, each on its share of every batch.

The first leads: it alone speaks with the database, validates and saves. Before every step it says
whether there is another one, so that all stop between the same two steps. Processes are started
by `torchrun`; gradients and batch statistics are averaged over all.
"""

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from engine.config import RunConfig
from engine.errors import EngineError

PATIENCE = timedelta(days=1)  # for the leader, who may judge a checkpoint meanwhile
GOODBYE = timedelta(seconds=10)


class Team:
    """One member's view.

    Attributes:
        rank: 0 leads.
        size: how many there are; alone, nothing is sent to anybody.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        # What the others wait for the leader to say.
        self._expected: str | None = "instructions" if rank == 0 and size > 1 else None

    @classmethod
    def join(cls, environment: Mapping[str, str] = os.environ) -> "Team":
        """Meets the others that `torchrun` has started, if it has."""
        team = cls(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))
        if team.size > 1:
            has_gpus = torch.cuda.is_available()
            if has_gpus:
                torch.cuda.set_device(int(environment["LOCAL_RANK"]))
            backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
            distributed.init_process_group(backend, timeout=PATIENCE)
        return team

    @property
    def share(self) -> tuple[int, int]:
        """(which, of how many) equal parts of each batch is this member's."""
        return self.rank, self.size

    def check(self, config: RunConfig) -> None:
        """Raises `EngineError` unless the run can be trained together."""
        budget = config.budget
        if budget.batch % self.size:
            raise EngineError(
                f"batch must be a multiple of the {self.size} processes (CHROMABENCH_RANKS) that "
                f"train together, not {budget.batch}"
            )
        if self.size > 1 and config.execution.graph == "on":
            raise EngineError("graph=on is for a process that trains alone: CHROMABENCH_RANKS=1")
        if self.size > 1 and budget.norm == "batch" and config.execution.device != "cuda":
            raise EngineError(
                "processes on a CPU cannot share the statistics of a batch: use norm=instance, or "
                "CHROMABENCH_RANKS=1"
            )

    def tell(self, message: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What the leader says before anything else is heard by all; nothing: there is no run."""
        box: list[Any] = [message or {}]
        if self.size > 1:
            self._expected = "steps"
            distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return dict(box[0])

    def share_statistics(self, network: nn.Module) -> None:
        """Makes the norms of a network see the whole batch."""
        if self.size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as it is trained: its gradients are averaged over all members."""
        if self.size == 1:
            return network
        is_on_gpu = next(network.parameters()).device.type == "cuda"
        with warnings.catch_warnings():
            # Its newer name is not known to the oldest torch that we work with.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(
                network,
                device_ids=[torch.cuda.current_device()] if is_on_gpu else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )

    def mean(self, figures: Tensor) -> Tensor:
        """The mean over all members, in place."""
        if self.size > 1:
            distributed.all_reduce(figures)
            figures /= self.size
        return figures

    def goes_on(self) -> bool:
        """Whether there is another step: the leader says so, the others wait for it."""
        if self.size == 1:
            return True
        word = torch.ones(1, dtype=torch.int8)
        distributed.broadcast(word, src=0)
        return bool(word.item())

    def dismiss(self) -> None:
        """The leader sends the others home; it does not wait long for those that do not listen."""
        expected, self._expected = self._expected, None
        with suppress(RuntimeError):  # they are gone already
            if expected == "instructions":
                self.tell()
                self._expected = None
            elif expected == "steps":
                word = torch.zeros(1, dtype=torch.int8)
                said = distributed.broadcast(word, src=0, async_op=True)
                if said is not None:
                    said.wait(GOODBYE)

    def leave(self) -> None:
        """Goes."""
        if self.size > 1:
            distributed.destroy_process_group()


ALONE = Team()
