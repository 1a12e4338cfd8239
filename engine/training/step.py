"""One training step: updates the discriminator, then the generator; or pretrains the generator."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.config import Budget, RunConfig
from engine.data.batches import Batch, make_images
from engine.errors import DivergedError, EngineError
from engine.networks.palette_generator import Prediction, SourceInputs, predict
from engine.training.cuda_graph import CudaGraphStep
from engine.training.distributed import SINGLE_PROCESS, ProcessGroup
from engine.training.losses import (
    FeatureExtractor,
    FeatureMaps,
    LossInputs,
    discriminator_loss,
    generator_loss,
)
from engine.training.state import TrainingState

PRETRAINING_LOSSES = ("l1",)
# The half-life of the moving average is at most this share of the pictures trained on so far.
MAX_EMA_SHARE = 0.05

TargetFeatures = Callable[[Batch], FeatureMaps]
# (batch, its sources) -> the generator's inputs that are computed from sources
SourceInputsFn = Callable[[Batch, Tensor], SourceInputs | None]
Network = Callable[..., Tensor]
Predictor = Callable[[Tensor, SourceInputs | None], Prediction]


@dataclass(frozen=True)
class StepLosses:
    """The recorded values of one step.

    Attributes:
        step: the number of the step, from 1.
        losses: `g_loss`, `d_loss`, each term of the recipe without its weight, `d_train_accuracy`
            and, at some steps, the gradient norms. A pretraining step has only `l1`.
    """

    step: int
    losses: dict[str, float]


class TrainingStep:
    """Runs training steps on the networks of a run.

    Args:
        config: the config of the run; no setting is `auto`.
        state: changed by every step.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        target_features: returns the cached feature maps of a batch's targets. If it is None,
            `extract` computes the feature maps at every step.
        source_inputs: returns the generator's inputs that are computed from a batch's sources.
        group: the processes that train the run together.
    """

    def __init__(
        self,
        config: RunConfig,
        state: TrainingState,
        extract: FeatureExtractor,
        target_features: TargetFeatures | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
        source_inputs: SourceInputsFn = lambda batch, source: None,
    ) -> None:
        self.config, self.state, self.group = config, state, group
        self.extract, self.target_features = extract, target_features
        self.source_inputs = source_inputs
        execution = config.execution
        is_channels_last = execution.channels_last == "on"
        self.memory_format = torch.channels_last if is_channels_last else torch.contiguous_format

        # Wrap the networks for training. The originals in `state` are used for validation, whose
        # batches have other shapes.
        is_compiled = execution.compile == "on"
        compiled = partial(torch.compile, dynamic=False) if is_compiled else lambda network: network
        self.generator: Predictor = compiled(
            group.data_parallel(GeneratorTraining(state.generator))
        )
        self.discriminator: Network | None = None
        if state.discriminator is not None:
            self.discriminator = compiled(group.data_parallel(state.discriminator))
            # The generator's update needs no gradients of the discriminator: use the discriminator
            # without DistributedDataParallel, which would average them.
            self.discriminator_unwrapped: Network = compiled(state.discriminator)

        # Capture the step as a CUDA graph at the first batch.
        self.graph_step: CudaGraphStep | None = None
        if execution.graph == "on":
            self.graph_step = CudaGraphStep(self.run_step, state)

        self.average_tensors = None
        if state.averaged is not None:
            names = averaged_names(state.generator)
            self.average_tensors = (
                select_tensors(state.averaged, names),
                select_tensors(state.generator, names),
            )
        terms = config.configuration.recipe.names
        self.loss_names = ("g_loss", *terms, "g_grad_norm")
        if self.discriminator is not None:
            self.loss_names = (
                *("g_loss", "d_loss", *terms, "d_train_accuracy"),
                *("g_grad_norm", "d_grad_norm"),
            )
        self.warnings: list[str] = []  # For the user; the training loop yields and removes them.

    def train(self, batch: Batch) -> Tensor:
        """Updates both networks on a batch.

        Returns:
            The losses in the order of `loss_names`, without gradient norms, on the device.
        """
        losses = self.run_graph(batch) if self.graph_step is not None else self.run_step(batch)
        self.advance_counters()
        return self.group.mean(losses)

    def pretrain(self, batch: Batch) -> Tensor:
        """Updates the generator alone on a batch, with the L1 loss.

        Returns:
            [1] losses in the order of `PRETRAINING_LOSSES`, on the device.
        """
        source, target = self.to_memory_format(batch)
        fake = self.generate(batch, source).picture
        loss = functional.l1_loss(fake, target)
        self.backward_and_step(self.state.g_optimiser, loss)
        self.advance_counters()
        return self.group.mean(loss.detach()[None])

    def run_graph(self, batch: Batch) -> Tensor:
        """Replays the step as a CUDA graph.

        If the step cannot be captured, adds a warning and runs the step without a graph.
        """
        assert self.graph_step is not None
        try:
            return self.graph_step(batch)
        except (RuntimeError, EngineError) as error:
            if self.graph_step.batch is not None:
                raise  # The capture was successful, so the step itself failed.
            self.graph_step = None
            self.warnings.append(f"steps are not replayed from a CUDA graph: {error}")
        return self.run_step(batch)

    def run_step(self, batch: Batch) -> Tensor:
        """Runs the tensor operations of a step, which can be captured as a CUDA graph.

        Returns:
            The losses in the order of `loss_names`, without gradient norms, on the device.
        """
        # Make the images of the batch.
        source, target = self.to_memory_format(batch)

        # Generate one fake per source, for both updates.
        prediction = self.generate(batch, source)

        # Update the discriminator, if the recipe has an adversarial term.
        d_losses: tuple[Tensor, ...] = ()
        if self.discriminator is not None:
            d_losses = self.update_discriminator(source, target, prediction.picture.detach())

        # Update the generator.
        target_features = self.target_features(batch) if self.target_features is not None else None
        g_loss, terms = self.update_generator(source, target, prediction, target_features)

        # Collect the losses, in the order of `loss_names`.
        losses = (g_loss, *d_losses[:1], *terms.values(), *d_losses[1:])
        return torch.stack([loss.detach() for loss in losses])

    def to_memory_format(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Makes source and target [B, 3, H, W] of a batch, in the networks' memory format."""
        source, target = make_images(batch)
        return (
            source.contiguous(memory_format=self.memory_format),
            target.contiguous(memory_format=self.memory_format),
        )

    def generate(self, batch: Batch, source: Tensor) -> Prediction:
        """Generates the fakes of sources [B, 3, H, W]; the fakes require gradients."""
        with autocast(self.config, source.device.type):
            prediction = self.generator(source, self.source_inputs(batch, source))
        return prediction._replace(picture=prediction.picture.float())

    def update_discriminator(
        self, source: Tensor, target: Tensor, fake: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Updates the discriminator to tell targets from fakes.

        Returns:
            The discriminator's loss, and the share of patches that it classified correctly.
        """
        assert self.discriminator is not None
        assert self.state.d_optimiser is not None
        # Classify the patches of targets and fakes.
        with autocast(self.config, source.device.type):
            target_logits = self.discriminator(source, target)
            fake_logits = self.discriminator(source, fake)

        # Update the weights.
        loss = discriminator_loss(target_logits, fake_logits)
        self.backward_and_step(self.state.d_optimiser, loss)

        # Measure the accuracy.
        shares = (target_logits > 0).float().mean() + (fake_logits < 0).float().mean()
        return loss, shares / 2

    def update_generator(
        self,
        source: Tensor,
        target: Tensor,
        prediction: Prediction,
        target_features: FeatureMaps | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Updates the generator to lower the loss of the recipe.

        Returns:
            The generator's loss, and each of its terms without its weight.
        """
        # Freeze the discriminator, so that the backward pass computes no gradients for it.
        with frozen(self.state.discriminator):
            # Compute the loss of the recipe.
            with autocast(self.config, source.device.type):
                logits = None
                if self.discriminator is not None:
                    logits = self.discriminator_unwrapped(source, prediction.picture)
                inputs = LossInputs(
                    source, target, prediction, logits, self.extract, target_features
                )
                loss, terms = generator_loss(self.config.configuration.recipe, inputs)

            # Update the weights.
            self.backward_and_step(self.state.g_optimiser, loss)
        return loss, terms

    def backward_and_step(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        """Computes the gradients of a loss and updates the weights."""
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser_step(optimiser)

    def optimiser_step(self, optimiser: torch.optim.Optimizer) -> None:
        """Updates the weights with their gradients."""
        optimiser.step()

    def advance_counters(self) -> None:
        """Counts a step and updates the generator's moving average."""
        state = self.state
        state.step += 1
        state.batches += 1
        state.pictures += self.config.budget.batch
        if self.average_tensors is not None:
            update_average(*self.average_tensors, self.config.budget, state.pictures)

    def fetch_losses(self, pending: Sequence[tuple[int, Tensor]]) -> tuple[StepLosses, ...]:
        """Copies losses from the device in one transfer.

        Args:
            pending: (step, losses) of some steps. The losses of a step may be fewer than
                `loss_names`, because gradient norms are not measured at every step.

        Raises:
            DivergedError: a loss is not finite.
        """
        if not pending:
            return ()
        values = iter(torch.cat([losses for _, losses in pending]).tolist())
        fetched = []
        for step, losses in pending:
            is_pretraining = len(losses) == len(PRETRAINING_LOSSES)
            names = PRETRAINING_LOSSES if is_pretraining else self.loss_names
            named = dict(zip(names, itertools.islice(values, len(losses)), strict=False))
            # Check `g_loss`, the sum, after its terms, so that the error names the diverged term.
            for name in sorted(named, key=lambda name: name == "g_loss"):
                require_finite(name, named[name], f"at step {step}")
            fetched.append(StepLosses(step, named))
        return tuple(fetched)

    def gradient_norms(self) -> Tensor:
        """Computes the norms of the last gradients: of the generator, and of the discriminator.

        Returns:
            [2], or [1] if there is no discriminator.
        """
        gradients = [
            [weight.grad for weight in network.parameters() if weight.grad is not None]
            for network in self.state.networks
        ]
        return torch.stack([nn.utils.get_total_norm(tensors) for tensors in gradients])


class GeneratorTraining(nn.Module):
    """A generator whose forward pass computes everything that the loss compares.

    Args:
        generator: the generator, whose weights are shared.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, source: Tensor, inputs: SourceInputs | None) -> Prediction:
        """Computes the prediction of sources [B, 3, H, W] in [-1, 1]."""
        return predict(self.generator, source, inputs)


@contextmanager
def frozen(network: nn.Module | None) -> Iterator[None]:
    """Switches off the gradients of a network's weights until the block ends."""
    if network is not None:
        network.requires_grad_(False)
    try:
        yield
    finally:
        if network is not None:
            network.requires_grad_(True)


def require_finite(name: str, value: float, when: str) -> None:
    """Raises `DivergedError` if a value is infinite or not a number.

    Args:
        name: the name of the value, for the message.
        value: the value.
        when: the end of the message, for example `at step 7`.
    """
    if not math.isfinite(value):
        problem = "not a number" if math.isnan(value) else "infinite"
        raise DivergedError(f"{name} became {problem} {when}")


def averaged_names(generator: nn.Module) -> list[str]:
    """Returns the names of the tensors that the moving average follows.

    These are the running statistics and all weights except frozen ones, which never change.
    """
    frozen = {name for name, weight in generator.named_parameters() if not weight.requires_grad}
    return [
        name
        for name, value in generator.state_dict().items()
        if value.is_floating_point() and name not in frozen
    ]


def select_tensors(network: nn.Module, names: Sequence[str]) -> list[Tensor]:
    """Returns the named weights and buffers of a network."""
    state = network.state_dict()
    return [state[name] for name in names]


def update_average(
    averaged: list[Tensor], generator: list[Tensor], budget: Budget, n_pictures: int
) -> None:
    """Moves the average's tensors towards the generator's, in place.

    The half-life, in pictures, grows with the pictures trained on, up to `budget.ema` (Karras et
    al. 2024, EDM2, section 3, the traditional average).

    Args:
        averaged: the tensors of the moving average.
        generator: the tensors of the generator, in the same order.
        budget: the budget of the run.
        n_pictures: pictures that the run has trained on.
    """
    half_life = min(float(budget.ema), MAX_EMA_SHARE * n_pictures)
    decay = 0.5 ** (budget.batch / half_life)
    torch._foreach_lerp_(averaged, generator, 1 - decay)


def autocast(config: RunConfig, device: str) -> AbstractContextManager[None]:
    """Returns a context that computes in bf16, if the run's precision is `bf16`.

    Every use needs a new context: autocast caches bf16 copies of the weights until the context
    ends, and a copy must not be used after its weight was updated.
    """
    enabled = config.execution.precision == "bf16"
    return torch.autocast(device, torch.bfloat16, enabled=enabled)
