"""Schedules of the learning rates: the factor of both rates at each step, as a table."""

import math
from collections.abc import Callable

from engine.config import Budget, Configuration

# (configuration, budget, step, epoch, n_steps) -> factor, with the arguments of `lr_factor`.
ScheduleFn = Callable[[Configuration, Budget, int, int, int], float]


def linear(
    configuration: Configuration, budget: Budget, step: int, epoch: int, n_steps: int
) -> float:
    """Returns 1, and in the last epochs (`budget.decay`) a factor that falls linearly.

    The factor changes between epochs and would reach 0 in the epoch after the last one.
    """
    decay_epochs = round(budget.epochs * budget.decay)
    decayed_epochs = max(0, epoch - (budget.epochs - decay_epochs))
    return 1 - decayed_epochs / (decay_epochs + 1)


def cosine(
    configuration: Configuration, budget: Budget, step: int, epoch: int, n_steps: int
) -> float:
    """Returns a factor that falls from 1, at the first step after the warm-up, to `final_lr`.

    The factor is half a cosine wave (Loshchilov and Hutter 2017, equation 5, without restarts). It
    reaches `final_lr` at the last step of the run. `budget.decay` has no effect.
    """
    first_step = configuration.warmup_steps + 1
    progress = max(0, step - first_step) / max(1, n_steps - first_step)
    final = configuration.final_lr
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, ScheduleFn] = {"linear": linear, "cosine": cosine}


def lr_factor(
    configuration: Configuration, budget: Budget, step: int, epoch: int, n_steps: int
) -> float:
    """Returns the factor of both learning rates at a step.

    During the first `warmup_steps` steps, the factor of the schedule is multiplied by a factor that
    rises linearly and reaches 1 at the last of these steps.

    Args:
        configuration: the configuration of the run.
        budget: the budget of the run.
        step: the step of the run, from 1.
        epoch: the epoch of the step, from 1.
        n_steps: number of steps of the whole run.
    """
    warmup_factor = min(1.0, step / max(1, configuration.warmup_steps))
    schedule = SCHEDULES[configuration.schedule]
    return schedule(configuration, budget, step, epoch, n_steps) * warmup_factor
