"""One process measures how fast this machine trains a kind of work, and in how much memory.

Started by the supervisor as `python -m engine.workers.speed_probe JOB TOKEN`, while nothing
trains. Its subject is a JSON list of run configs, one for each kind of work; pictures are random,
the steps are real.
"""

import json
import sys
import time

import psutil
import torch

from engine.config import RunConfig
from engine.data.batches import Batch, PairSet
from engine.errors import EngineError
from engine.jobs.estimates import work_of
from engine.networks import backbones
from engine.records.curves import Probe
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.system.processes import host
from engine.training import execution, loop, machine_profile
from engine.training.state import build_state
from engine.training.step import Steps
from engine.workers import worker_process
from engine.workers.worker_process import End, ShouldStop, StoppedError

WARM_UP = 2  # steps that are not counted: caches and kernels are made in them
ENOUGH_S, FEWEST = 3.0, 3  # measured for so long, and at least so many steps
N_TRAIN = 1000  # pretended pairs; the speed of a step does not depend on it


def probe(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Measures each kind of work of the job's subject and remembers it."""
    if job.subject is None:
        raise EngineError("this job is about nothing")
    configs = [RunConfig.model_validate(it) for it in json.loads(job.subject)]
    for number, config in enumerate(configs, 1):
        speed, memory_mb = measure(config, settings, should_stop)
        found = Probe(host(), work_of(config), speed, memory_mb, utc_now())
        store.add_probe(job, found, utc_now())
        store.set_progress(job, number / len(configs), utc_now())
        print(f"{found.work}: {speed:.1f} pictures/s, {memory_mb:.0f} MB", flush=True)
    return RunState.DONE, None


def measure(config: RunConfig, settings: Settings, should_stop: ShouldStop) -> tuple[float, float]:
    """Real training steps on random pictures -> (pictures per second, MB of memory)."""
    config = execution.resolve(config, N_TRAIN, settings)
    execution.set_up(config.execution)
    device = execution.choose_device(config.execution.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    encoder = None
    if config.budget.generator == "resnet18_unet":
        encoder = backbones.load_resnet18(None)
    state = build_state(config, device, encoder)
    shape = (config.budget.batch, config.budget.px, config.budget.px, 6)
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, shape, generator=chance, dtype=torch.uint8).to(device)
    draws = torch.zeros(config.budget.batch, 4, dtype=torch.int64, device=device)
    draws[:, 0] = torch.arange(config.budget.batch)
    batch = Batch(pixels, draws)
    pairs = PairSet(pixels, tuple(map(str, range(len(pixels)))), device)
    extract = backbones.build_extract(config, settings, device)
    steps = loop.build_steps(config, state, extract, pairs)
    for _ in range(WARM_UP):
        _step(steps, batch, should_stop)
    machine_profile.synchronise(device)
    count, began = 0, time.perf_counter()
    while count < FEWEST or time.perf_counter() - began < ENOUGH_S:
        _step(steps, batch, should_stop)
        count += 1
        machine_profile.synchronise(device)
    seconds = time.perf_counter() - began
    if device.type == "cuda":
        memory_mb = torch.cuda.max_memory_reserved(device) / 2**20
    else:
        memory_mb = psutil.Process().memory_info().rss / 2**20
    return count * config.budget.batch / seconds, memory_mb


def _step(steps: Steps, batch: Batch, should_stop: ShouldStop) -> None:
    if should_stop():
        raise StoppedError
    steps.train(batch)


if __name__ == "__main__":
    sys.exit(worker_process.main(sys.argv[1:], probe))
