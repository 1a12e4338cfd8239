"""The optimisers of both networks against those of PyTorch."""

from typing import get_args

import pytest
import torch

from engine.config import OptimizerName, change
from engine.data.batches import training_batches
from engine.presets import CONFIGURATIONS
from engine.training.optimizers import OPTIMIZERS, build_optimizer, set_learning_rate
from engine.training.state import build_state
from engine.training.step import TrainingStep
from tests.support.runs import tiny_config
from tests.support.training import maps

CPU = torch.device("cpu")
STANDARD = CONFIGURATIONS["standard"]
ADAMW = change(STANDARD, {"optimizer": "adamw", "weight_decay": 0.02})


def new_weights(*shape):
    generator = torch.Generator().manual_seed(3)
    return torch.nn.Parameter(torch.randn(*shape, generator=generator))


def take_steps(optimizer, weights, count=3):
    """Takes steps with gradients that depend on the weights."""
    for _ in range(count):
        optimizer.zero_grad()
        (weights**3).sum().backward()
        optimizer.step()


def weights_after_training(config, pairs):
    state = build_state(config, CPU)
    training_step = TrainingStep(config, state, maps)
    torch.manual_seed(1)
    for batch in training_batches(pairs, 4, 0, seed=0, epoch=1):
        training_step.train(batch)
    assert state.step == 4
    return [*state.generator.parameters(), *state.discriminator.parameters()]


def test_every_optimiser_of_a_configuration_has_a_class():
    assert tuple(OPTIMIZERS) == get_args(OptimizerName)


def test_adamw_without_weight_decay_trains_like_adam(few_pairs):
    adam = weights_after_training(tiny_config(batch=4), few_pairs)
    adamw = weights_after_training(tiny_config(batch=4, optimizer="adamw"), few_pairs)

    assert all(torch.equal(one, other) for one, other in zip(adam, adamw, strict=True))


def test_weight_decay_changes_the_training(few_pairs):
    plain = weights_after_training(tiny_config(batch=4, optimizer="adamw"), few_pairs)
    config = tiny_config(batch=4, optimizer="adamw", weight_decay="0.5")
    decayed = weights_after_training(config, few_pairs)

    n_different = sum(
        not torch.equal(one, other) for one, other in zip(plain, decayed, strict=True)
    )
    assert n_different > len(plain) / 2


@pytest.mark.parametrize(
    ("configuration", "reference"),
    [
        (STANDARD, lambda weights: torch.optim.Adam(weights, 2e-4, (0.5, 0.999))),
        (ADAMW, lambda weights: torch.optim.AdamW(weights, 2e-4, (0.5, 0.999), weight_decay=0.02)),
    ],
)
def test_an_optimiser_takes_the_steps_of_its_class_in_pytorch(configuration, reference):
    actual, expected = new_weights(4, 3), new_weights(4, 3)
    optimizer = build_optimizer(configuration, 2e-4, [{"params": [actual]}], CPU)

    take_steps(optimizer, actual)
    take_steps(reference([expected]), expected)

    assert torch.allclose(actual, expected, rtol=1e-6)


def test_without_gradients_each_step_shrinks_all_weights_and_biases_by_rate_times_decay():
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.BatchNorm2d(2))
    for weight in network.parameters():
        torch.nn.init.constant_(weight, 3.0)
    optimizer = build_optimizer(ADAMW, 0.1, [{"params": list(network.parameters())}], CPU)

    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()

    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight, torch.full_like(weight, 3 * (1 - 0.1 * 0.02)), msg=name)


def test_a_group_learns_at_its_share_of_the_rate():
    plain, scaled = new_weights(5), new_weights(5)
    before = plain.detach().clone()
    groups = [{"params": [plain]}, {"params": [scaled], "lr_scale": 0.2}]
    optimizer = build_optimizer(STANDARD, 1.0, groups, CPU)

    set_learning_rate(optimizer, 1e-3)
    for weights in (plain, scaled):
        weights.grad = torch.ones(5)
    optimizer.step()

    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 2e-4]
    torch.testing.assert_close(scaled - before, 0.2 * (plain - before), rtol=1e-3, atol=0)


def test_the_rates_that_a_cuda_graph_reads_are_changed_in_place():
    groups = [{"params": [new_weights(2)]}, {"params": [new_weights(2)], "lr_scale": 0.2}]
    optimizer = build_optimizer(STANDARD, 1.0, groups, CPU, has_graph=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert [rate.item() for rate in rates] == pytest.approx([1.0, 0.2])

    set_learning_rate(optimizer, 0.5)

    assert [group["lr"] for group in optimizer.param_groups] == rates
    assert all(
        group["lr"] is rate for group, rate in zip(optimizer.param_groups, rates, strict=True)
    )
    assert [rate.item() for rate in rates] == pytest.approx([0.5, 0.1])


def test_the_factors_of_groups_survive_a_checkpoint():
    groups = [{"params": [new_weights(2)]}, {"params": [new_weights(2)], "lr_scale": 0.2}]
    optimizer = build_optimizer(ADAMW, 1.0, groups, CPU)

    optimizer.load_state_dict(optimizer.state_dict())
    set_learning_rate(optimizer, 1e-3)

    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 2e-4]
