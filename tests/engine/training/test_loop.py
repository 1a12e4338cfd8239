import copy
from functools import partial

import pytest
import torch

from engine.data.batches import training_batches
from engine.errors import DivergedError
from engine.networks.palette_generator import find_reader
from engine.presets import CONFIGURATIONS
from engine.training import checkpoint, loop, losses, step
from engine.training.distributed import ProcessGroup
from engine.training.loop import EpochDone, StepsDone, train
from engine.training.schedules import lr_factor
from engine.training.state import build_state
from tests.support.runs import tiny_config
from tests.support.training import maps

CPU = torch.device("cpu")
# Four steps per epoch, AdamW, and a cosine schedule after three steps of warm-up.
COSINE = {
    **{"batch": "4", "optimizer": "adamw", "weight_decay": "0.02"},
    **{"schedule": "cosine", "warmup_steps": "3", "final_lr": "0.1"},
}


def events_of(config, pairs, val_pairs, state=None):
    state = state or build_state(config, CPU)
    return list(train(config, state, pairs, val_pairs, maps)), state


def losses_of(events):
    return [
        (recorded.step, recorded.losses)
        for event in events
        if isinstance(event, StepsDone)
        for recorded in event.recorded
    ]


@pytest.mark.slow
def test_one_batch_can_be_overfitted(few_pairs, few_val_pairs):
    config = tiny_config(
        batch=16, epochs=120, jitter=0, base_channels=16, lr_g="2e-3", ema=0, adversarial=0
    )
    events, _ = events_of(config, few_pairs, few_val_pairs)

    l1 = [losses["l1"] for _, losses in losses_of(events)]
    assert l1[-1] < 0.25 * l1[0]


def test_the_same_seed_gives_the_same_losses(few_pairs, few_val_pairs):
    first, _ = events_of(tiny_config(epochs=2), few_pairs, few_val_pairs)
    second, _ = events_of(tiny_config(epochs=2), few_pairs, few_val_pairs)

    assert losses_of(first) == losses_of(second)
    assert len(losses_of(first)) == 4


def test_another_seed_gives_other_losses(few_pairs, few_val_pairs):
    first, _ = events_of(tiny_config(), few_pairs, few_val_pairs)
    second, _ = events_of(tiny_config(seed=1), few_pairs, few_val_pairs)

    assert losses_of(first) != losses_of(second)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_configuration_takes_two_steps(name, few_pairs, few_val_pairs):
    config = tiny_config(name)
    state = build_state(config, CPU)
    before = copy.deepcopy(state.generator.state_dict())

    events, state = events_of(config, few_pairs, few_val_pairs, state)

    recorded = losses_of(events)
    assert [number for number, _ in recorded] == [1, 2]
    recipe = config.configuration.recipe
    d_names = ("d_loss", "d_train_accuracy") if recipe.is_adversarial else ()
    assert set(recorded[0][1]) == {"g_loss", *d_names, *recipe.names}
    assert (state.discriminator is None) == (not recipe.is_adversarial)
    after = state.generator.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["standard", "perceptual", "ganv3", "vivid", "vivid_photo"])
def test_a_resumed_run_equals_an_uninterrupted_one(name, few_pairs, few_val_pairs, tmp_path):
    config = tiny_config(name, epochs=3, decay=0.5)
    all_events, uninterrupted = events_of(config, few_pairs, few_val_pairs)

    stopped = build_state(config, CPU)
    for event in train(config, stopped, few_pairs, few_val_pairs, maps):
        if isinstance(event, EpochDone):
            sha256, _ = checkpoint.save(event.state.state_dict(), tmp_path / "one.pt")
            break
    resumed = build_state(tiny_config(name, seed=9, epochs=3), CPU)
    resumed.load_state_dict(checkpoint.load(tmp_path / "one.pt", sha256))
    later_events, resumed = events_of(config, few_pairs, few_val_pairs, resumed)

    assert losses_of(later_events) == losses_of(all_events)[2:]
    expected, actual = uninterrupted.state_dict(), resumed.state_dict()
    assert expected.keys() == actual.keys()
    for network in {"generator", "discriminator", "averaged"} & expected.keys():
        assert all(
            torch.equal(expected[network][key], actual[network][key]) for key in expected[network]
        )


def test_a_recipe_without_a_discriminator_reports_no_rate_of_one(few_pairs, few_val_pairs):
    events, _ = events_of(tiny_config("vivid"), few_pairs, few_val_pairs)

    metrics = events[-1].metrics
    assert "lr_g" in metrics
    assert "lr_d" not in metrics


@pytest.mark.parametrize("name", ["vivid", "vivid_photo"])
def test_frozen_blocks_stay_and_late_blocks_train_at_their_share_of_the_rate(
    name, few_pairs, few_val_pairs
):
    config = tiny_config(name)
    state = build_state(config, CPU)
    reader = find_reader(state.generator)
    early, late = (
        copy.deepcopy([*part.state_dict().values()]) for part in (reader.early, reader.late)
    )

    events_of(config, few_pairs, few_val_pairs, state)

    assert all(map(torch.equal, early, reader.early.state_dict().values()))
    assert not all(map(torch.equal, late, reader.late.state_dict().values()))
    others, of_reader = state.g_optimiser.param_groups
    assert of_reader["lr"] == pytest.approx(0.2 * others["lr"])
    assert sum(map(torch.numel, of_reader["params"])) == sum(map(torch.numel, late))


def test_the_generators_update_adds_no_gradient_to_the_discriminator(few_pairs):
    config = tiny_config()
    state = build_state(config, CPU)
    training_step = step.TrainingStep(config, state, maps)
    gradients = []

    def copy_gradients(*_):
        weights = state.discriminator.parameters()
        gradients.append([weight.grad.clone() for weight in weights])

    state.g_optimiser.register_step_pre_hook(copy_gradients)
    state.d_optimiser.register_step_pre_hook(copy_gradients)

    training_step.train(next(training_batches(few_pairs, 8, 0, seed=0, epoch=1)))

    in_own_update, in_generator_update = gradients
    assert all(torch.equal(a, b) for a, b in zip(in_own_update, in_generator_update, strict=True))


def test_every_nth_step_is_recorded_however_often_losses_are_fetched(
    few_pairs, few_val_pairs, monkeypatch
):
    config = tiny_config(batch=4, epochs=2, record_every=3)
    monkeypatch.setattr(loop, "FETCH_INTERVAL_S", 1e9)
    few_events, _ = events_of(config, few_pairs, few_val_pairs)
    monkeypatch.setattr(loop, "FETCH_INTERVAL_S", 0.0)
    many_events, _ = events_of(config, few_pairs, few_val_pairs)

    assert [number for number, _ in losses_of(few_events)] == [3, 6]
    assert losses_of(few_events) == losses_of(many_events)
    assert len(many_events) > len(few_events)


def test_an_epoch_reports_validation_speed_and_rates(few_pairs, few_val_pairs):
    events, state = events_of(tiny_config(), few_pairs, few_val_pairs)

    last = events[-1]
    assert isinstance(last, EpochDone)
    assert set(last.metrics) == {
        *("val_g_loss", "val_psnr", "epoch_seconds", "images_per_second", "peak_memory_mb"),
        *("lr_g", "lr_d"),
    }
    assert state.epoch == 1
    assert state.pictures == 16


def test_a_loss_that_is_not_finite_ends_the_run_by_name_and_step(few_pairs, few_val_pairs):
    config = tiny_config()
    state = build_state(config, CPU)
    with torch.no_grad():
        state.generator.up[-1][1].bias.fill_(float("nan"))

    with pytest.raises(DivergedError, match=r"d_loss became not a number at step 1"):
        list(train(config, state, few_pairs, few_val_pairs, maps))


def test_an_infinite_sum_of_finite_terms_is_a_divergence(few_pairs, few_val_pairs, monkeypatch):
    monkeypatch.setitem(losses.TERM_FUNCTIONS, "l1", lambda inputs: inputs.fake.mean() * 0 + 3e38)

    with pytest.raises(DivergedError, match=r"g_loss became infinite at step 1"):
        events_of(tiny_config(), few_pairs, few_val_pairs)


def test_the_average_follows_the_generator_by_its_half_life():
    config = tiny_config(ema=80)
    state = build_state(config, CPU)
    with torch.no_grad():
        for parameter in state.averaged.parameters():
            parameter.fill_(0.0)
        for parameter in state.generator.parameters():
            parameter.fill_(1.0)

    names = step.averaged_names(state.generator)
    averaged, generator = (
        step.select_tensors(network, names) for network in (state.averaged, state.generator)
    )
    for _ in range(10):  # Ten batches of 8 pictures are one half-life.
        step.update_average(averaged, generator, config.budget, n_pictures=10**6)

    assert next(state.averaged.parameters()).flatten()[0].item() == pytest.approx(0.5, abs=1e-6)


def test_without_an_average_the_generator_itself_is_sampled():
    state = build_state(tiny_config(ema=0), CPU)

    assert state.averaged is None
    assert state.sampler is state.generator


def rates_of_steps(state):
    """A list to which each further step of a state appends the learning rate of the generator."""
    rates = []
    groups = state.g_optimiser.param_groups
    state.g_optimiser.register_step_pre_hook(lambda *_: rates.append(groups[0]["lr"]))
    return rates


def test_each_step_has_the_rate_of_its_schedule_and_an_epoch_reports_its_last(
    few_pairs, few_val_pairs
):
    config = tiny_config(epochs=3, **COSINE)
    state = build_state(config, CPU)
    rates = rates_of_steps(state)

    events, _ = events_of(config, few_pairs, few_val_pairs, state)

    factors = [lr_factor(config.configuration, config.budget, n, 0, 12) for n in range(1, 13)]
    assert rates == [2e-4 * factor for factor in factors]
    reported = [event.metrics["lr_g"] for event in events if isinstance(event, EpochDone)]
    assert reported == [rates[3], rates[7], rates[11]]
    assert rates[-1] == 2e-4 * 0.1


@pytest.mark.parametrize("stop_after", [2, 6, 8, 12])
def test_a_run_with_a_schedule_is_resumed_within_an_epoch_bit_for_bit(
    few_pairs, few_val_pairs, tmp_path, monkeypatch, stop_after
):
    monkeypatch.setattr(loop, "FETCH_INTERVAL_S", 0.0)  # An event at every step.
    config = tiny_config(epochs=3, **COSINE)
    all_events, uninterrupted = events_of(config, few_pairs, few_val_pairs)

    stopped = build_state(config, CPU)
    for event in train(config, stopped, few_pairs, few_val_pairs, maps):
        if event.step == stop_after:
            sha256, _ = checkpoint.save(stopped.state_dict(), tmp_path / "one.pt")
            break
    resumed = build_state(tiny_config(seed=9, epochs=3, **COSINE), CPU)
    resumed.load_state_dict(checkpoint.load(tmp_path / "one.pt", sha256))
    rates = rates_of_steps(resumed)
    later_events, resumed = events_of(config, few_pairs, few_val_pairs, resumed)

    assert len(rates) == 12 - stop_after
    assert losses_of(later_events) == losses_of(all_events)[stop_after:]
    expected, actual = uninterrupted.state_dict(), resumed.state_dict()
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=0, msg=name)


def test_a_follower_sets_the_rates_of_the_leader(few_pairs, few_val_pairs):
    class EndlessGroup(ProcessGroup):
        """A group of one process whose leader never stops."""

        def wait_for_step(self):
            return True

    config = tiny_config(epochs=2, **COSINE)
    follower = build_state(config, CPU)
    rates = rates_of_steps(follower)

    loop.follow(config, follower, few_pairs, maps, EndlessGroup())
    leader = build_state(config, CPU)
    expected = rates_of_steps(leader)
    events_of(config, few_pairs, few_val_pairs, leader)

    assert rates == expected
    assert len(rates) == 8
    for name, value in leader.generator.state_dict().items():
        assert torch.equal(follower.generator.state_dict()[name], value)


def test_added_epochs_have_the_rates_of_the_new_number_of_steps(few_pairs, few_val_pairs):
    _, state = events_of(tiny_config(epochs=1, **COSINE), few_pairs, few_val_pairs)
    longer = tiny_config(epochs=3, **COSINE)
    rates = rates_of_steps(state)

    events_of(longer, few_pairs, few_val_pairs, state)

    factors = [lr_factor(longer.configuration, longer.budget, n, 0, 12) for n in range(5, 13)]
    assert rates == [2e-4 * factor for factor in factors]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # raised by the compiler
def test_compiled_networks_train_like_others_except_for_dropout(
    few_pairs, few_val_pairs, monkeypatch
):
    # The networks are traced, differentiated and replaced as always. Only the generation of machine
    # code, which is torch's own and takes a minute, is omitted.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, _ = events_of(tiny_config(), few_pairs, few_val_pairs)
    compiled, _ = events_of(tiny_config(compile="on"), few_pairs, few_val_pairs)

    for (_, expected), (_, actual) in zip(losses_of(plain), losses_of(compiled), strict=True):
        for step_losses in (expected, actual):
            del step_losses["d_train_accuracy"]  # One of its few patches may change sides.
        assert actual == pytest.approx(expected, rel=0.05)


def test_pretraining_trains_the_generator_alone_and_then_both(few_pairs, few_val_pairs):
    config = tiny_config(epochs=3, pretrain=1)
    state = build_state(config, CPU)
    before = copy.deepcopy(state.discriminator.state_dict())
    after_first = None
    events = []
    for event in train(config, state, few_pairs, few_val_pairs, maps):
        events.append(event)
        if isinstance(event, EpochDone) and event.epoch == 1:
            after_first = copy.deepcopy(state.discriminator.state_dict())

    recorded = losses_of(events)
    assert [set(row) == {"l1"} for _, row in recorded] == [True, True] + [False] * 4
    assert "g_loss" in recorded[-1][1]
    weights = [name for name in before if name.endswith("weight")]
    assert all(torch.equal(before[name], after_first[name]) for name in weights)
    assert not torch.equal(before[weights[0]], state.discriminator.state_dict()[weights[0]])


@pytest.mark.parametrize(
    "generator", ["unet", pytest.param("resnet18_unet", marks=pytest.mark.slow)]
)
def test_the_two_colour_channels_can_be_learned(few_pairs, few_val_pairs, generator):
    config = tiny_config(
        output="lab_ab", discriminator="unconditional", generator=generator, epochs=12, batch=16,
        jitter=0, lr_g="5e-3", adversarial=0,
    )  # fmt: skip

    events, _ = events_of(config, few_pairs, few_val_pairs)

    l1 = [row["l1"] for _, row in losses_of(events)]
    assert l1[-1] < 0.95 * l1[0]
