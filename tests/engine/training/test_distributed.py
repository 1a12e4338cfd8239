"""Several processes that train one run."""

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
from engine.jobs import lifecycle, planning, spawn
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import utc_now
from engine.system import child_environment, processes
from engine.training import loop
from engine.training.distributed import ProcessGroup
from engine.training.loop import EpochDone, StepsDone
from engine.training.state import build_state
from tests.support.runs import TIMEOUT_S, tiny_config, wait_for
from tests.support.training import maps, remove_dropout

CPU = torch.device("cpu")


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def build_deterministic_state(config):
    state = build_state(config, CPU)
    remove_dropout(state.generator)
    return state


def run_process(rank, size, port, config, pairs, val_pairs, stop_after, results):
    """Leads or follows; puts its steps into `results`, and the leader its losses, too."""
    torch.set_num_threads(1)
    numbers = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ.update({name: str(number) for name, number in numbers.items()})
    group = ProcessGroup.join()
    state = build_deterministic_state(config)
    if rank:
        group.broadcast_setup()
        loop.follow(config, state, pairs, maps, group)
    else:
        group.broadcast_setup({"config": {}})
        results.put(lead(config, state, pairs, val_pairs, group, stop_after))
        group.stop_followers()
    results.put((rank, state.step))
    group.close()


def lead(config, state, pairs, val_pairs, group, stop_after=None):
    """Trains to an epoch; returns the losses of every step and the PSNR of every epoch."""
    losses, psnr = [], []
    for event in loop.train(config, state, pairs, val_pairs, maps, group):
        if isinstance(event, StepsDone):
            losses += [recorded.losses for recorded in event.recorded]
        if isinstance(event, EpochDone):
            psnr.append(event.metrics["val_psnr"])
            if event.epoch == stop_after:
                break
    return losses, psnr


def train_together(size, config, pairs, val_pairs, stop_after=None):
    """Trains with several processes; returns the result of `lead`, and rank -> steps."""
    context = multiprocessing.get_context("spawn")
    queue, port = context.Queue(), free_port()
    children = [
        context.Process(
            target=run_process,
            args=(rank, size, port, config, pairs, val_pairs, stop_after, queue),
        )
        for rank in range(size)
    ]
    for child in children:
        child.start()
    try:
        results = [queue.get(timeout=60) for _ in range(size + 1)]
        for child in children:
            child.join(60)
            assert child.exitcode == 0
    finally:
        for child in children:
            child.kill()
            child.join()
    of_leader = next(result for result in results if isinstance(result[0], list))
    return of_leader, dict(result for result in results if result is not of_leader)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("regularized", {"pretrain": "1"}),
        (
            "regularized",
            {
                **{"optimizer": "adamw", "weight_decay": "0.02"},
                **{"schedule": "cosine", "warmup_steps": "3"},
            },
        ),
        ("vivid", {}),
    ],
    ids=str,
)
def test_two_processes_have_the_losses_of_one(few_pairs, few_val_pairs, name, changes):
    config = tiny_config(name, batch=4, epochs=3, norm="instance", threads=1, **changes)
    state = build_deterministic_state(config)
    expected_losses, expected_psnr = lead(config, state, few_pairs, few_val_pairs, ProcessGroup())

    (losses, psnr), steps = train_together(2, config, few_pairs, few_val_pairs)

    assert steps == {0: 12, 1: 12}
    assert len(losses) == len(expected_losses) == 12
    for actual, expected in zip(losses, expected_losses, strict=True):
        assert actual.keys() == expected.keys()
        for name, value in expected.items():
            tolerance = 0.1 if name == "d_train_accuracy" else 1e-4  # One patch may change sides.
            assert actual[name] == pytest.approx(value, rel=tolerance, abs=1e-6), name
    assert psnr == pytest.approx(expected_psnr, rel=1e-4)


@pytest.mark.slow
def test_a_follower_stops_after_the_same_step_as_the_leader(few_pairs, few_val_pairs):
    config = tiny_config(batch=8, epochs=3, norm="instance", threads=1)

    (losses, _), steps = train_together(2, config, few_pairs, few_val_pairs, stop_after=2)

    assert steps == {0: 4, 1: 4}
    assert len(losses) == 4


def test_a_group_of_one_process_sends_nothing():
    group = ProcessGroup.join({})

    assert group.shard == (0, 1)
    assert group.broadcast_setup({"a": 1}) == {"a": 1}
    network = torch.nn.Conv2d(1, 1, 1)
    assert group.data_parallel(network) is network
    values = torch.ones(2)
    assert group.mean(values) is values
    group.announce_step()
    group.stop_followers()
    group.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 6, "norm": "instance"}, "batch must be a multiple of the 4 processes"),
        ({"batch": 8}, "use norm=instance, or CHROMABENCH_RANKS=1"),
        ({"batch": 8, "norm": "instance", "graph": "on"}, "CHROMABENCH_RANKS=1"),
    ],
)
def test_a_run_that_several_processes_cannot_train_is_refused(changes, message):
    with pytest.raises(EngineError, match=message):
        ProcessGroup(0, 4).require_trainable(tiny_config(**changes))


@pytest.mark.parametrize("text", ["0", "two", "-1", "1.5"])
def test_an_invalid_number_of_processes_is_refused(text):
    with pytest.raises(BadInputError, match="CHROMABENCH_RANKS must be a whole number"):
        Settings.from_environment({"CHROMABENCH_RANKS": text})


@pytest.mark.slow
def test_a_killed_follower_ends_the_attempt_and_the_next_attempt_ends_the_run(
    store, tiny_settings, monkeypatch
):
    """Uses the supervisor and torchrun, as on a machine with two GPUs."""
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    settings = replace(tiny_settings, ranks=2)
    changes = {"epochs": "15", "norm": "instance", "threads": "1", "precision": "fp32"}
    configs = planning.plan_study(OpenMoji(), "smoke", ["standard"], 1, changes, settings)
    _, (run,) = lifecycle.submit(store, settings, configs, "two", "key", utc_now())
    child = processes.start_detached(
        [sys.executable, "-m", "engine", "supervise", "--drain"],
        settings.artifacts / "supervisor.log",
        child_environment.build_child_environment(settings),
    )
    try:
        wait_for(lambda: store.checkpoints.read(run.id))
        wait_for(lambda: find_follower(child.pid)).kill()

        crashed = wait_for(lambda: find_crashed(store, run))
        assert crashed.reason == "another process of the run was killed"
        assert child.wait(timeout=TIMEOUT_S) == 0
    finally:
        if child.poll() is None:
            for descendant in psutil.Process(child.pid).children(recursive=True):
                descendant.kill()
        child.kill()
        child.wait()

    ended = store.runs.read(run.id)
    assert ended.state == RunState.DONE
    assert ended.environment["ranks"] == 2
    steps = [point.step for point in store.curves.read([run.id], names=("g_loss",))]
    assert steps == list(range(1, 15 * 8 + 1))
    assert store.evaluations.read([run.id], "test")


def find_crashed(store, run):
    """Returns the run if it has crashed."""
    current = store.runs.read(run.id)
    return current if current.state == RunState.CRASHED else None


def find_follower(supervisor):
    """Returns the process of rank 1 that a supervisor has started through torchrun."""
    for process in psutil.Process(supervisor).children(recursive=True):
        with suppress(psutil.Error):
            if process.environ().get("RANK") == "1":
                return process
    return None
