"""A whole training step recorded once as a CUDA graph, then replayed with a single launch.

With small batches a GPU waits for Python between the hundreds of kernels of a step; a replay has no
Python in it. What a recording is made of must be done before, on real data, so the first batch is
taken a few times and everything that this changed is put back. A recording is believed when its
first replay gives the losses that the step gave without it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.data.batches import Batch
from engine.errors import EngineError
from engine.training.state import TrainingState

WARM_UP = 3  # steps before the recording: memory is taken and kernels are chosen in them
AGREEMENT = 0.02  # relative, of a replay's losses; a GPU's sums differ a little from time to time

Take = Callable[[Batch], Tensor]
Record = Callable[[Take, Batch], tuple[Callable[[], None], Tensor]]  # -> replay, what it fills


class RecordedStep:
    """A function of batches of one shape, recorded at its first call.

    Args:
        take: a training step; everything it does happens on the device.
        state: what it changes.
        record: makes the recording.
    """

    def __init__(self, take: Take, state: TrainingState, record: Record | None = None) -> None:
        self.take, self.state = take, state
        self.record = record or record_on_gpu
        self.batch: Batch | None = None
        self.replay: Callable[[], None] = lambda: None
        self.figures = torch.empty(0)

    def __call__(self, batch: Batch) -> Tensor:
        """Takes the step on a batch -> its figures.

        Raises:
            RuntimeError, EngineError: it cannot be recorded; nothing has changed.
        """
        if self.batch is None:
            self._prepare(batch)
            assert self.batch is not None
        for kept_part, part in zip(self.batch, batch, strict=True):
            if kept_part is not part:
                kept_part.copy_(part)
        self.replay()
        return self.figures.clone()

    def _prepare(self, batch: Batch) -> None:
        kept = Batch(batch.pixels, batch.draws.clone())
        with undone(self.state):
            expected = self.take(kept)
            for _ in range(WARM_UP - 1):
                self.take(kept)
        replay, figures = self.record(self.take, kept)
        with undone(self.state):
            replay()
            if not torch.allclose(figures, expected, rtol=AGREEMENT, atol=AGREEMENT):
                raise EngineError(
                    f"a recorded step gave {figures.tolist()}, not {expected.tolist()}"
                )
        self.replay, self.figures, self.batch = replay, figures, kept


def record_on_gpu(take: Take, batch: Batch) -> tuple[Callable[[], None], Tensor]:
    """Records a step without doing it."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    # Other threads, which read the next pairs, may go on.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        figures = take(batch)
    return graph.replay, figures


@contextmanager
def undone(state: TrainingState) -> Iterator[None]:
    """Puts weights, statistics, moments and random streams back as they were, in place."""
    networks = (state.generator, state.discriminator)
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    kept = [tensor.detach().clone() for tensor in tensors]
    optimisers = (state.g_optimiser, state.d_optimiser)
    moments = {
        (parameter, name): value.clone()
        for optimiser in optimisers
        for parameter, values in optimiser.state.items()
        for name, value in values.items()
    }
    random = state.random_state()
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, kept, strict=True):
                tensor.copy_(value)
            for optimiser in optimisers:
                for parameter, values in optimiser.state.items():
                    for name, value in values.items():
                        before = moments.get((parameter, name))
                        value.zero_() if before is None else value.copy_(before)
        state.set_random_state(random)
