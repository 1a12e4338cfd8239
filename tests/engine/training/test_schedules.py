"""The factor of the learning rates at each step of a run."""

from typing import get_args

import pytest

from engine.config import ScheduleName, change
from engine.presets import BUDGETS, CONFIGURATIONS
from engine.training.schedules import SCHEDULES, lr_factor

STANDARD, DEMO = CONFIGURATIONS["standard"], BUDGETS["demo"]


def factors_of(n_steps, budget=DEMO, **changes):
    configuration = change(STANDARD, changes)
    return [
        lr_factor(configuration, budget, step, epoch=1, n_steps=n_steps)
        for step in range(1, n_steps + 1)
    ]


def test_every_schedule_of_a_configuration_has_a_function():
    assert tuple(SCHEDULES) == get_args(ScheduleName)


@pytest.mark.parametrize("warmup_steps", [0, 1, 50])
@pytest.mark.parametrize("final_lr", [0.0, 0.02, 1.0])
def test_a_cosine_falls_from_1_after_the_warm_up_to_its_end_at_the_last_step(
    warmup_steps, final_lr
):
    factors = factors_of(1080, schedule="cosine", warmup_steps=warmup_steps, final_lr=final_lr)

    fall = factors[warmup_steps:]
    assert fall[0] == 1
    assert fall[-1] == final_lr
    assert fall == sorted(fall, reverse=True)


def test_a_cosine_is_half_way_down_in_the_middle():
    factors = factors_of(101, schedule="cosine", final_lr=0.2)

    assert factors[50] == pytest.approx(0.6)


def test_a_cosine_ignores_the_decay_of_the_budget():
    decaying = change(DEMO, {"decay": 1.0})

    assert factors_of(100, decaying, schedule="cosine") == factors_of(100, schedule="cosine")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_warm_up_rises_linearly_and_reaches_1_at_its_last_step(schedule):
    factors = factors_of(100, schedule=schedule, warmup_steps=50)

    assert factors[:50] == pytest.approx([step / 50 for step in range(1, 51)])
    assert factors[49] == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_with_fewer_steps_than_its_warm_up_ends_during_the_warm_up(schedule):
    factors = factors_of(8, schedule=schedule, warmup_steps=50)

    assert factors == [step / 50 for step in range(1, 9)]


@pytest.mark.parametrize("n_steps", [1, 4])
def test_a_cosine_of_one_step_has_the_full_rate(n_steps):
    assert factors_of(n_steps, schedule="cosine", warmup_steps=n_steps - 1)[-1] == 1


def published_factor(budget, epoch):
    """The factor of the published studies, which changes between epochs."""
    decay_epochs = round(budget.epochs * budget.decay)
    decayed_epochs = max(0, epoch - (budget.epochs - decay_epochs))
    return 1 - decayed_epochs / (decay_epochs + 1)


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("decay", [None, 0.5, 1.0])
def test_the_linear_schedule_has_exactly_the_factors_of_the_published_studies(name, decay):
    budget = BUDGETS[name] if decay is None else change(BUDGETS[name], {"decay": decay})
    n_steps = 10 * budget.epochs

    for epoch in range(1, budget.epochs + 1):
        for step in (10 * epoch - 9, 10 * epoch):
            factor = lr_factor(STANDARD, budget, step, epoch, n_steps)
            assert factor == published_factor(budget, epoch)


@pytest.mark.parametrize(
    ("epoch", "factor"), [(1, 1.0), (100, 1.0), (101, 1 - 1 / 101), (200, 1 - 100 / 101)]
)
def test_the_papers_rate_is_constant_then_falls_linearly(epoch, factor):
    assert lr_factor(STANDARD, BUDGETS["paper"], epoch, epoch, 200) == pytest.approx(factor)
