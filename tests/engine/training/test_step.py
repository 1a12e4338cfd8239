"""The training step against the plain loop, as a CUDA graph, and with cached features."""

import copy

import pytest
import torch

from engine.bench.plain_loop import PlainLoop
from engine.data import batches
from engine.data.batches import make_images, make_labels, training_batches
from engine.training.cuda_graph import CudaGraphStep
from engine.training.state import build_state
from engine.training.step import TrainingStep
from engine.training.target_features import TargetFeatureCache
from tests.support.runs import tiny_config
from tests.support.training import maps, remove_dropout

CPU = torch.device("cpu")


def deterministic_state(config):
    state = build_state(config, CPU)
    remove_dropout(state.generator)
    return state


def all_batches(pairs, config, epochs):
    for epoch in range(1, epochs + 1):
        yield from training_batches(pairs, config.budget.batch, 2, config.seed, epoch)


@pytest.mark.parametrize("name", ["standard", "perceptual", "regularized", "ganv3"])
@pytest.mark.parametrize("channels_last", ["on", "off"])
def test_twenty_steps_equal_twenty_steps_of_the_plain_loop(name, channels_last, few_pairs):
    # With a bilinear start, rounding errors grow to 2e-5 within 20 steps.
    config = tiny_config(
        name, batch=4, channels_last=channels_last, keep_maps="off", upconv_init="normal"
    )
    state = deterministic_state(config)
    plain = PlainLoop(config, CPU, maps)
    remove_dropout(plain.generator)
    plain.generator.load_state_dict(state.generator.state_dict())
    plain.discriminator.load_state_dict(state.discriminator.state_dict())
    training_step = TrainingStep(config, state, maps)

    n_steps = 0
    for batch in all_batches(few_pairs, config, epochs=5):
        g_loss, d_loss = training_step.train(batch)[:2].tolist()
        expected_g, expected_d = plain.step(*make_images(batch))
        n_steps += 1
        assert g_loss == pytest.approx(expected_g, rel=1e-5)
        assert d_loss == pytest.approx(expected_d, rel=1e-5)

    assert n_steps == 20
    for network, plain_network in (
        (state.generator, plain.generator),
        (state.discriminator, plain.discriminator),
    ):
        actual, expected = network.state_dict(), plain_network.state_dict()
        # The gradient of a bias before a norm is rounding noise, which Adam scales up.
        for key in (key for key in expected if key.endswith("weight")):
            difference = (actual[key].float() - expected[key].float()).abs().mean()
            assert difference <= 1e-5, key


def test_a_plain_step_with_two_forwards_equals_one_with_a_single_forward(few_pairs):
    config = tiny_config(norm="instance")
    once, twice = (PlainLoop(config, CPU, maps, two_forwards=flag) for flag in (False, True))
    for loop in (once, twice):
        remove_dropout(loop.generator)
    twice.generator.load_state_dict(once.generator.state_dict())
    twice.discriminator.load_state_dict(once.discriminator.state_dict())

    for batch in all_batches(few_pairs, config, epochs=1):
        source, target = make_images(batch)
        assert twice.step(source, target) == pytest.approx(once.step(source, target), rel=1e-5)


def capture_by_running_again(step_fn, batch):
    """Imitates a CUDA graph: each replay runs the step and writes into the same tensor."""
    state = step_fn.__self__.state
    content, random = copy.deepcopy(state.state_dict()), state.random_state()
    losses = step_fn(batch)
    state.load_state_dict(content)
    state.set_random_state(random)
    return lambda: losses.copy_(step_fn(batch)), losses


@pytest.mark.parametrize("has_moments", [False, True])
def test_a_replayed_step_equals_the_step_and_its_warm_up_changes_nothing(few_pairs, has_moments):
    config = tiny_config(batch=4)  # With dropout, so that the random generator must be restored.
    eager, captured = build_state(config, CPU), build_state(config, CPU)
    eager_step = TrainingStep(config, eager, maps)
    captured_step = TrainingStep(config, captured, maps)
    batches = list(all_batches(few_pairs, config, epochs=2))
    if has_moments:  # The optimisers have moments before the capture.
        for training_step in (eager_step, captured_step):
            torch.manual_seed(4)
            for batch in batches[:2]:
                training_step.train(batch)
    captured_step.graph_step = CudaGraphStep(
        captured_step.run_step, captured, capture_by_running_again
    )

    torch.manual_seed(5)
    expected = [eager_step.train(batch) for batch in batches[2:]]
    torch.manual_seed(5)
    actual = [captured_step.train(batch) for batch in batches[2:]]

    assert all(torch.equal(a, b) for a, b in zip(expected, actual, strict=True))
    for name, value in eager.generator.state_dict().items():
        assert torch.equal(captured.generator.state_dict()[name], value)
    assert captured.step == eager.step


def test_a_step_that_cannot_be_captured_runs_with_a_warning(few_pairs):
    config = tiny_config(batch=4)
    eager, captured = build_state(config, CPU), build_state(config, CPU)
    eager_step = TrainingStep(config, eager, maps)
    captured_step = TrainingStep(config, captured, maps)

    def refuse(step_fn, batch):
        raise RuntimeError("capture is not possible")

    captured_step.graph_step = CudaGraphStep(captured_step.run_step, captured, refuse)
    for batch in training_batches(few_pairs, 4, 0, seed=0, epoch=1):
        torch.manual_seed(1)
        expected = eager_step.train(batch)
        torch.manual_seed(1)
        assert torch.equal(captured_step.train(batch), expected)

    assert captured_step.warnings == [
        "steps are not replayed from a CUDA graph: capture is not possible"
    ]


def test_a_graph_with_other_losses_than_the_step_is_not_used(few_pairs):
    config = tiny_config(batch=4)
    state = build_state(config, CPU)
    training_step = TrainingStep(config, state, maps)

    def capture_wrongly(step_fn, batch):
        return lambda: None, torch.ones(5)

    training_step.graph_step = CudaGraphStep(training_step.run_step, state, capture_wrongly)
    training_step.train(next(training_batches(few_pairs, 4, 0, seed=0, epoch=1)))

    assert training_step.graph_step is None
    assert (
        "the first replay gave the losses [1.0, 1.0, 1.0, 1.0, 1.0], not ["
        in training_step.warnings[0]
    )


def test_cached_maps_are_those_of_the_targets_in_a_batch(few_pairs):
    cache = TargetFeatureCache(maps, few_pairs)

    n_mirrored = 0
    for batch in training_batches(few_pairs, 5, 0, seed=0, epoch=1):
        _, target = make_images(batch)
        for actual, expected in zip(cache(batch), maps(target), strict=True):
            assert torch.allclose(actual, expected, atol=1e-6)
        n_mirrored += int(batch.augmentations[:, 1].sum())
    assert 0 < n_mirrored < 15


def test_steps_with_cached_maps_equal_steps_without(few_pairs):
    config = tiny_config("perceptual", jitter=0)
    states = [deterministic_state(config) for _ in range(2)]
    uncached = TrainingStep(config, states[0], maps)
    cached = TrainingStep(config, states[1], maps, TargetFeatureCache(maps, few_pairs))

    for batch in training_batches(few_pairs, 8, 0, seed=0, epoch=1):
        expected = uncached.train(batch).tolist()
        assert cached.train(batch).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_step_that_fails_leaves_the_discriminator_trainable(few_pairs):
    config = tiny_config("perceptual", batch=4)
    state = build_state(config, CPU)

    def fail(pictures):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        TrainingStep(config, state, fail).train(next(training_batches(few_pairs, 4, 0, 0, 1)))

    assert all(weight.requires_grad for weight in state.discriminator.parameters())


@pytest.mark.parametrize("is_in_file", [False, True])
def test_a_replayed_step_reads_the_labels_of_its_own_batch(packed, monkeypatch, is_in_file):
    if is_in_file:
        monkeypatch.setattr(batches, "MAX_COPIED_BYTES", 0)
    labels = packed.pixels[..., -3].copy()
    pairs = batches.load_pair_set(packed, "train", 12, CPU, labels)
    state = build_state(tiny_config(batch=4), CPU)

    def sum_labels(batch):
        return make_labels(batch).double().mean((1, 2))

    def capture(step_fn, batch):
        means = step_fn(batch)
        return lambda: means.copy_(step_fn(batch)), means

    graph_step = CudaGraphStep(sum_labels, state, capture)
    for batch in training_batches(pairs, 4, 2, seed=0, epoch=1):
        expected = sum_labels(batch)
        assert torch.equal(graph_step(batch), expected)
