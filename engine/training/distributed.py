"""Distributed training: several processes train one run, each on its part of every batch.

`torchrun` starts the processes. The process with rank 0 is the leader: only the leader uses the
database, validates and saves checkpoints. The other processes are followers. Before every step the
leader broadcasts whether to run another step, so that all processes stop after the same step.
Gradients and batch statistics are averaged over the processes.
"""

import enum
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

COLLECTIVE_TIMEOUT = timedelta(days=1)  # The followers wait while the leader evaluates.
SHUTDOWN_TIMEOUT = timedelta(seconds=10)


class _Message(enum.IntEnum):
    """The message that the leader broadcasts before every step."""

    STOP = 0
    STEP = 1


class _Expected(enum.Enum):
    """The broadcast for which the followers wait."""

    SETUP = enum.auto()
    MESSAGE = enum.auto()
    NOTHING = enum.auto()


class ProcessGroup:
    """The group of processes that train a run, and the rank of this process in the group.

    A group of one process sends nothing.

    Attributes:
        rank: the number of this process; rank 0 is the leader.
        size: the number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        # Only the leader needs the expected broadcast: it may stop the followers at any time.
        is_leading_others = rank == 0 and size > 1
        self._expected = _Expected.SETUP if is_leading_others else _Expected.NOTHING

    @classmethod
    def join(cls, environment: Mapping[str, str] = os.environ) -> "ProcessGroup":
        """Joins the group of processes that `torchrun` has started.

        Without `torchrun`, returns a group of one process.
        """
        group = cls(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))
        if group.size > 1:
            has_gpus = torch.cuda.is_available()
            if has_gpus:
                torch.cuda.set_device(int(environment["LOCAL_RANK"]))
            backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
            distributed.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
        return group

    @property
    def shard(self) -> tuple[int, int]:
        """This process's part of each batch: (index, number of equal parts)."""
        return self.rank, self.size

    def require_trainable(self, config: RunConfig) -> None:
        """Checks that this number of processes can train a run together.

        Raises:
            EngineError: these processes cannot train the run together.
        """
        budget = config.budget
        if budget.batch % self.size:
            raise EngineError(
                f"batch must be a multiple of the {self.size} processes (CHROMABENCH_RANKS) that "
                f"train together, not {budget.batch}"
            )
        if self.size > 1 and config.execution.graph == "on":
            raise EngineError("graph=on needs a single training process: set CHROMABENCH_RANKS=1")
        if self.size > 1 and budget.norm == "batch" and config.execution.device != "cuda":
            raise EngineError(
                "processes on a CPU cannot share the statistics of a batch: use norm=instance, or "
                "CHROMABENCH_RANKS=1"
            )

    def broadcast_setup(self, setup: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sends the setup of the run from the leader to all processes.

        Args:
            setup: the setup, if this process is the leader; None in the followers. An empty setup
                means that there is no run.

        Returns:
            The leader's setup, in every process.
        """
        objects: list[Any] = [setup or {}]
        if self.size > 1:
            self._expected = _Expected.MESSAGE
            distributed.broadcast_object_list(objects, src=0, device=torch.device("cpu"))
        return dict(objects[0])

    def sync_batch_norm(self, network: nn.Module) -> None:
        """Replaces batch norms by `SyncBatchNorm`, which uses statistics of the whole batch."""
        if self.size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]

    def data_parallel(self, network: nn.Module) -> nn.Module:
        """Wraps a network so that its gradients are averaged over the processes."""
        if self.size == 1:
            return network
        is_on_gpu = next(network.parameters()).device.type == "cuda"
        with warnings.catch_warnings():
            # `broadcast_buffers` has a new name, which the oldest supported torch does not accept.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(
                network,
                device_ids=[torch.cuda.current_device()] if is_on_gpu else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )

    def mean(self, values: Tensor) -> Tensor:
        """Averages a tensor over the processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def announce_step(self) -> None:
        """Tells the followers to run a step. Called by the leader."""
        if self.size > 1:
            distributed.broadcast(_as_tensor(_Message.STEP), src=0)

    def wait_for_step(self) -> bool:
        """Waits for the leader's message; returns False if it is to stop. Called by followers."""
        message = _as_tensor(_Message.STOP)
        distributed.broadcast(message, src=0)
        return bool(message.item() == _Message.STEP)

    def stop_followers(self) -> None:
        """Tells the followers to stop, whichever broadcast they wait for. Called by the leader.

        If the followers wait for a step, the leader waits at most `SHUTDOWN_TIMEOUT` for them. A
        second call does nothing.
        """
        expected = self._expected
        with suppress(RuntimeError):  # The followers have already exited.
            if expected is _Expected.SETUP:
                self.broadcast_setup()
            elif expected is _Expected.MESSAGE:
                work = distributed.broadcast(_as_tensor(_Message.STOP), src=0, async_op=True)
                if work is not None:
                    work.wait(SHUTDOWN_TIMEOUT)
        self._expected = _Expected.NOTHING

    def close(self) -> None:
        """Closes the connections to the other processes."""
        if self.size > 1:
            distributed.destroy_process_group()


def _as_tensor(message: _Message) -> Tensor:
    return torch.tensor([message], dtype=torch.int8)


SINGLE_PROCESS = ProcessGroup()
