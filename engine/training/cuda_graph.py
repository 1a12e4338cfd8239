"""Captures a training step as a CUDA graph and replays it with a single launch.

With small batches, a GPU waits for Python between the hundreds of kernels of a step; a replay runs
no Python. Before the capture, the step must have run on real data. Therefore the step runs a few
times on the first batch, and then the training state is restored. A captured graph is used only if
its first replay reproduces the losses of the step without the graph.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from engine.data.batches import Batch
from engine.errors import EngineError
from engine.training.state import TrainingState

# The steps before the capture allocate memory and select kernels.
WARM_UP_STEPS = 3
# The relative and the absolute tolerance of losses: repeated sums on a GPU differ slightly.
REPLAY_TOLERANCE = 0.02

StepFn = Callable[[Batch], Tensor]
# (step, batch) -> (function that replays the step, tensor that each replay fills with losses)
CaptureFn = Callable[[StepFn, Batch], tuple[Callable[[], None], Tensor]]


class CudaGraphStep:
    """A training step that is captured at the first batch and then replayed.

    All batches must have the same shape.

    Args:
        step_fn: a training step that computes only on the device.
        state: the training state that the step changes.
        capture: captures the step; None: `capture_on_gpu`.
    """

    def __init__(
        self, step_fn: StepFn, state: TrainingState, capture: CaptureFn | None = None
    ) -> None:
        self.step_fn, self.state = step_fn, state
        self.capture = capture or capture_on_gpu
        self.batch: Batch | None = None
        self.replay: Callable[[], None] = lambda: None
        self.losses = torch.empty(0)

    def __call__(self, batch: Batch) -> Tensor:
        """Runs the step on a batch and returns its losses.

        Raises:
            RuntimeError, EngineError: the step cannot be captured; the state is unchanged.
        """
        if self.batch is None:
            self._capture_and_verify(batch)
            assert self.batch is not None
        # Copy the batch into the tensors that the graph reads.
        for graph_input, tensor in zip(self.batch, batch, strict=True):
            if graph_input is not None and tensor is not None and graph_input is not tensor:
                graph_input.copy_(tensor)
        self.replay()
        return self.losses.clone()

    def _capture_and_verify(self, batch: Batch) -> None:
        graph_batch = batch._replace(augmentations=batch.augmentations.clone())

        # Warm up, and keep the losses of the step without the graph.
        with state_restored(self.state):
            expected = self.step_fn(graph_batch)
            for _ in range(WARM_UP_STEPS - 1):
                self.step_fn(graph_batch)

        # Capture the step.
        replay, losses = self.capture(self.step_fn, graph_batch)

        # Compare the first replay with the step without the graph.
        with state_restored(self.state):
            replay()
            if not torch.allclose(losses, expected, rtol=REPLAY_TOLERANCE, atol=REPLAY_TOLERANCE):
                raise EngineError(
                    f"the first replay gave the losses {losses.tolist()}, not {expected.tolist()}"
                )
        self.replay, self.losses, self.batch = replay, losses, graph_batch


def capture_on_gpu(step_fn: StepFn, batch: Batch) -> tuple[Callable[[], None], Tensor]:
    """Captures a step as a CUDA graph, without running it."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    # `thread_local` allows the thread that loads the next pairs to use CUDA during the capture.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        losses = step_fn(batch)
    return graph.replay, losses


@contextmanager
def state_restored(state: TrainingState) -> Iterator[None]:
    """Restores weights, statistics, moments and random generators when the block ends, in place."""
    # Copy the state.
    tensors = [tensor for network in state.networks for tensor in network.state_dict().values()]
    copies = [tensor.detach().clone() for tensor in tensors]
    optimisers = state.optimisers
    moments = {
        (weight, name): value.clone()
        for optimiser in optimisers
        for weight, values in optimiser.state.items()
        for name, value in values.items()
    }
    random = state.random_state()
    try:
        yield
    finally:
        # Copy the state back into the same tensors, because the graph uses their addresses.
        with torch.no_grad():
            for tensor, copy in zip(tensors, copies, strict=True):
                tensor.copy_(copy)
            for optimiser in optimisers:
                for weight, values in optimiser.state.items():
                    for name, value in values.items():
                        moment = moments.get((weight, name))
                        value.zero_() if moment is None else value.copy_(moment)
        state.set_random_state(random)
