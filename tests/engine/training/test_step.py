"""The fast step beside the plain loop, and the ways in which a step can be taken."""

import copy

import pytest
import torch
from torch import nn

from engine.bench.plain_loop import PlainLoop
from engine.data.batches import cut, training_batches
from engine.training.cuda_graph import RecordedStep
from engine.training.state import build_state
from engine.training.step import Steps
from engine.training.target_features import KeptMaps
from tests.conftest import tiny_config
from tests.engine.training.test_loop import maps

CPU = torch.device("cpu")


def without_chance(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def deterministic_state(config):
    state = build_state(config, CPU)
    without_chance(state.generator)
    return state


def all_batches(pairs, config, epochs):
    for epoch in range(1, epochs + 1):
        yield from training_batches(pairs, config.budget.batch, 2, config.seed, epoch)


@pytest.mark.parametrize("name", ["standard", "perceptual", "regularized", "ganv3"])
@pytest.mark.parametrize("layout", ["on", "off"])
def test_twenty_fast_steps_equal_twenty_plain_ones(name, layout, few_pairs):
    config = tiny_config(name, batch=4, channels_last=layout, keep_maps="off")
    state = deterministic_state(config)
    plain = PlainLoop(config, CPU, maps)
    without_chance(plain.generator)
    plain.generator.load_state_dict(state.generator.state_dict())
    plain.discriminator.load_state_dict(state.discriminator.state_dict())
    steps = Steps(config, state, maps)

    taken = 0
    for batch in all_batches(few_pairs, config, epochs=5):
        g_loss, d_loss = steps.train(batch)[:2].tolist()
        expected_g, expected_d = plain.step(*cut(batch))
        taken += 1
        assert g_loss == pytest.approx(expected_g, rel=1e-5)
        assert d_loss == pytest.approx(expected_d, rel=1e-5)

    assert taken == 20
    for mine, theirs in (
        (state.generator, plain.generator),
        (state.discriminator, plain.discriminator),
    ):
        found, expected = mine.state_dict(), theirs.state_dict()
        # A bias before a norm has no gradient but rounding, which Adam makes as large as any.
        for key in (it for it in expected if it.endswith("weight")):
            difference = (found[key].float() - expected[key].float()).abs().mean()
            assert difference <= 1e-5, key


def test_a_plain_step_with_two_forwards_is_the_same_without_chance(few_pairs):
    config = tiny_config(norm="instance")
    once, twice = (PlainLoop(config, CPU, maps, makes_twice=it) for it in (False, True))
    for loop in (once, twice):
        without_chance(loop.generator)
    twice.generator.load_state_dict(once.generator.state_dict())
    twice.discriminator.load_state_dict(once.discriminator.state_dict())

    for batch in all_batches(few_pairs, config, epochs=1):
        assert twice.step(*cut(batch)) == pytest.approx(once.step(*cut(batch)), rel=1e-5)


def record_by_doing_again(take, batch):
    """Stands in for a CUDA graph: does the step into the same tensor at every replay."""
    state = take.__self__.state
    before = copy.deepcopy(state.state_dict()), state.random_state()
    figures = take(batch)
    saved, random = before
    state.load_state_dict(saved)
    state.set_random_state(random)
    return lambda: figures.copy_(take(batch)), figures


@pytest.mark.parametrize("half_way", [False, True])
def test_a_recorded_step_is_the_step_and_its_warm_up_leaves_no_trace(few_pairs, half_way):
    config = tiny_config(batch=4)  # with dropout: its stream must be put back too
    eager, recorded = build_state(config, CPU), build_state(config, CPU)
    eager_steps, steps = Steps(config, eager, maps), Steps(config, recorded, maps)
    batches = list(all_batches(few_pairs, config, epochs=2))
    if half_way:  # moments that are there before the recording
        for taking in (eager_steps, steps):
            torch.manual_seed(4)
            for batch in batches[:2]:
                taking.train(batch)
    steps.recorded = RecordedStep(steps.take, recorded, record_by_doing_again)

    torch.manual_seed(5)
    expected = [eager_steps.train(batch) for batch in batches[2:]]
    torch.manual_seed(5)
    found = [steps.train(batch) for batch in batches[2:]]

    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    for name, value in eager.generator.state_dict().items():
        assert torch.equal(recorded.generator.state_dict()[name], value)
    assert recorded.step == eager.step


def test_a_step_that_cannot_be_recorded_is_taken_and_said(few_pairs):
    config = tiny_config(batch=4)
    eager, refused = build_state(config, CPU), build_state(config, CPU)
    expected, steps = Steps(config, eager, maps), Steps(config, refused, maps)

    def refuse(take, batch):
        raise RuntimeError("capture is not possible")

    steps.recorded = RecordedStep(steps.take, refused, refuse)
    for batch in training_batches(few_pairs, 4, 0, seed=0, epoch=1):
        torch.manual_seed(1)
        wanted = expected.train(batch)
        torch.manual_seed(1)
        assert torch.equal(steps.train(batch), wanted)

    assert steps.notes == ["steps are not replayed from a CUDA graph: capture is not possible"]


def test_a_recording_that_does_something_else_is_not_believed(few_pairs):
    config = tiny_config(batch=4)
    state = build_state(config, CPU)
    steps = Steps(config, state, maps)

    def record_wrongly(take, batch):
        figures = torch.ones(5)
        return lambda: None, figures

    steps.recorded = RecordedStep(steps.take, state, record_wrongly)
    steps.train(next(training_batches(few_pairs, 4, 0, seed=0, epoch=1)))

    assert steps.recorded is None
    assert "a recorded step gave [1.0, 1.0, 1.0, 1.0, 1.0], not [" in steps.notes[0]


def test_kept_maps_are_those_of_the_targets_in_a_batch(few_pairs):
    kept = KeptMaps(maps, few_pairs)

    mirrored = 0
    for batch in training_batches(few_pairs, 5, 0, seed=0, epoch=1):
        _, target = cut(batch)
        for found, expected in zip(kept(batch), maps(target), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)
        mirrored += int(batch.draws[:, 1].sum())
    assert 0 < mirrored < 15


def test_steps_with_kept_maps_are_those_without(few_pairs):
    config = tiny_config("perceptual", jitter=0)
    states = [deterministic_state(config) for _ in range(2)]
    plain = Steps(config, states[0], maps)
    kept = Steps(config, states[1], maps, KeptMaps(maps, few_pairs))

    for batch in training_batches(few_pairs, 8, 0, seed=0, epoch=1):
        assert kept.train(batch).tolist() == pytest.approx(plain.train(batch).tolist(), rel=1e-5)


def test_a_step_that_fails_half_way_leaves_the_discriminator_trainable(few_pairs):
    config = tiny_config("perceptual", batch=4)
    state = build_state(config, CPU)

    def fail(pictures):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        Steps(config, state, fail).train(next(training_batches(few_pairs, 4, 0, 0, 1)))

    assert all(it.requires_grad for it in state.discriminator.parameters())
