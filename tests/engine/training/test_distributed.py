"""Processes that train one run together."""

import multiprocessing
import os
import socket
import sys
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
import torch

from engine.data.sources.openmoji import OpenMoji
from engine.errors import BadInputError, EngineError
from engine.jobs import lifecycle, planning
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import utc_now
from engine.system import child_environment, processes
from engine.training import loop
from engine.training.distributed import Team
from engine.training.loop import EpochDone, StepsDone
from engine.training.state import build_state
from tests.conftest import PATIENCE_S, tiny_config, wait_for
from tests.engine.training.test_loop import maps
from tests.engine.training.test_step import without_chance

CPU = torch.device("cpu")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def built(config):
    state = build_state(config, CPU)
    without_chance(state.generator)
    return state


def be_a_member(rank, size, port, config, pairs, val_pairs, stop_after, answers):
    """Leads or follows; the leader answers with its losses and weights."""
    torch.set_num_threads(1)
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ.update({"MASTER_ADDR": "127.0.0.1"} | {key: str(it) for key, it in place.items()})
    team = Team.join()
    state = built(config)
    if rank:
        team.tell()
        loop.follow(config, state, pairs, maps, team)
    else:
        team.tell({"config": {}})
        answers.put(lead(config, state, pairs, val_pairs, team, stop_after))
        team.dismiss()
    answers.put((rank, state.step))
    team.leave()


def lead(config, state, pairs, val_pairs, team, stop_after=None):
    losses, validated = [], []
    for event in loop.train(config, state, pairs, val_pairs, maps, team):
        if isinstance(event, StepsDone):
            losses += [one.losses for one in event.recorded]
        if isinstance(event, EpochDone):
            validated.append(event.metrics["val_psnr"])
            if event.epoch == stop_after:
                break
    return losses, validated


def train_together(size, config, pairs, val_pairs, stop_after=None):
    """What the leader saw, and how many steps each took."""
    context = multiprocessing.get_context("spawn")
    answers, port = context.Queue(), free_port()
    members = [
        context.Process(
            target=be_a_member,
            args=(rank, size, port, config, pairs, val_pairs, stop_after, answers),
        )
        for rank in range(size)
    ]
    for member in members:
        member.start()
    try:
        found = [answers.get(timeout=60) for _ in range(size + 1)]
        for member in members:
            member.join(60)
            assert member.exitcode == 0
    finally:
        for member in members:
            member.kill()
            member.join()
    seen = next(it for it in found if isinstance(it[0], list))
    return seen, dict(it for it in found if it is not seen)


@pytest.mark.slow
def test_two_together_have_the_losses_of_one(few_pairs, few_val_pairs):
    config = tiny_config("regularized", batch=4, epochs=3, pretrain=1, norm="instance", threads=1)
    alone = lead(config, built(config), few_pairs, few_val_pairs, Team())

    (losses, validated), steps = train_together(2, config, few_pairs, few_val_pairs)

    assert steps == {0: 12, 1: 12}
    assert len(losses) == len(alone[0]) == 12
    for found, expected in zip(losses, alone[0], strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            tolerance = 0.1 if name == "d_train_accuracy" else 1e-4  # a patch may tip
            assert found[name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
    assert validated == pytest.approx(alone[1], rel=1e-4)


@pytest.mark.slow
def test_who_follows_stops_between_the_same_two_steps(few_pairs, few_val_pairs):
    config = tiny_config(batch=8, epochs=3, norm="instance", threads=1)

    (losses, _), steps = train_together(2, config, few_pairs, few_val_pairs, stop_after=2)

    assert steps == {0: 4, 1: 4}
    assert len(losses) == 4


def test_alone_nothing_is_sent():
    team = Team.join({})

    assert team.share == (0, 1)
    assert team.goes_on()
    assert team.tell({"a": 1}) == {"a": 1}
    network = torch.nn.Conv2d(1, 1, 1)
    assert team.wrap(network) is network
    figures = torch.ones(2)
    assert team.mean(figures) is figures
    team.dismiss()
    team.leave()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 6, "norm": "instance"}, "batch must be a multiple of the 4 processes"),
        ({"batch": 8}, "use norm=instance, or CHROMABENCH_RANKS=1"),
        ({"batch": 8, "norm": "instance", "graph": "on"}, "CHROMABENCH_RANKS=1"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(changes, message):
    with pytest.raises(EngineError, match=message):
        Team(0, 4).check(tiny_config(**changes))


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5", ""])
def test_a_senseless_number_of_processes_is_refused(text):
    with pytest.raises(BadInputError, match="CHROMABENCH_RANKS must be a whole number"):
        Settings.from_environment({"CHROMABENCH_RANKS": text})


@pytest.mark.slow
def test_a_killed_member_ends_the_attempt_and_the_run_goes_on(store, tiny_settings, monkeypatch):
    """By the supervisor and torchrun, as on a machine with two GPUs."""
    monkeypatch.setattr(lifecycle, "ensure_supervisor", lambda settings: None)
    settings = replace(tiny_settings, ranks=2)
    changes = {"epochs": "30", "norm": "instance", "threads": "1", "precision": "fp32"}
    configs = planning.plan_study(OpenMoji(), "smoke", ["standard"], 1, changes, settings)
    _, (run,) = lifecycle.submit(store, settings, configs, "two", "key", utc_now())
    child = processes.start_detached(
        [sys.executable, "-m", "engine", "supervise", "--drain"],
        settings.artifacts / "supervisor.log",
        child_environment.worker_environment(settings),
    )
    try:
        wait_for(lambda: store.read_checkpoints(run.id))
        wait_for(lambda: find_follower(child.pid)).kill()

        crashed = wait_for(lambda: (it := store.read_run(run.id)).state == RunState.CRASHED and it)
        assert crashed.reason == "a process that trained with it was killed"
        assert child.wait(timeout=PATIENCE_S) == 0
    finally:
        for member in psutil.Process(child.pid).children(recursive=True) if is_up(child) else []:
            member.kill()
        child.kill()
        child.wait()

    ended = store.read_run(run.id)
    assert ended.state == RunState.DONE
    assert ended.environment["ranks"] == 2
    steps = [it.step for it in store.read_metrics([run.id], names=("g_loss",))]
    assert steps == list(range(1, 30 * 8 + 1))
    assert store.read_evaluations([run.id], "test")


def is_up(child):
    return child.poll() is None


def find_follower(supervisor):
    """The process of rank 1 that a supervisor has started through torchrun."""
    for process in psutil.Process(supervisor).children(recursive=True):
        with suppress(psutil.Error):
            if process.environ().get("RANK") == "1":
                return process
    return None
