"""Measures training speed and memory of some workloads on this machine.

The supervisor starts this module through `engine.workers`, with the arguments JOB TOKEN, while no
other job runs. The subject of the job is a JSON list of run configs, one for each workload. The
probe makes real training steps on random images.
"""

import json
import logging
import sys
import time

import psutil
import torch

from engine import weights
from engine.config import RunConfig
from engine.data.batches import Batch, PairSet
from engine.errors import EngineError
from engine.jobs.estimates import workload_key
from engine.networks import backbones
from engine.records.curves import Probe
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.system.processes import host_id
from engine.training import execution, loop, machine_profile
from engine.training.losses import FeatureExtractor
from engine.training.state import build_state
from engine.training.step import TrainingStep
from engine.workers import worker_process
from engine.workers.worker_process import End, ShouldStop, StoppedError

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 2  # not measured, because they fill caches and compile kernels
MIN_SECONDS, MIN_STEPS = 3.0, 3  # the measurement ends when both are reached
N_TRAIN = 1000  # to resolve the config; does not affect the speed of a step


def probe(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Measures each workload of the job's subject and stores the results."""
    if job.subject is None:
        raise EngineError("this job names no workload")
    configs = [RunConfig.model_validate(values) for values in json.loads(job.subject)]
    for number, config in enumerate(configs, 1):
        speed, memory_mb = measure(config, settings, should_stop)
        result = Probe(host_id(), workload_key(config), speed, memory_mb, utc_now())
        store.machines.add_probe(job, result, utc_now())
        store.jobs.set_progress(job, number / len(configs), utc_now())
        logger.info("%s: %.1f pictures/s, %.0f MB", result.work, speed, memory_mb)
    return RunState.DONE, None


def measure(config: RunConfig, settings: Settings, should_stop: ShouldStop) -> tuple[float, float]:
    """Measures speed and memory of training steps on random images.

    Returns:
        Images per second, and the memory of this process or of the GPU in MiB.

    Raises:
        StoppedError: a stop was requested.
    """
    config = execution.resolve(config, N_TRAIN, settings)
    execution.configure_process(config.execution)
    device = execution.choose_device(config.execution.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    state = build_state(config, device)
    shape = (config.budget.batch, config.budget.px, config.budget.px, 6)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device)
    augmentations = torch.zeros(config.budget.batch, 4, dtype=torch.int64, device=device)
    augmentations[:, 0] = torch.arange(config.budget.batch)
    batch = Batch(pixels, augmentations)
    pairs = PairSet(pixels, tuple(map(str, range(len(pixels)))), device)
    extract = _build_feature_extractor(config, settings, device)
    training_step = loop.build_training_step(config, state, extract, pairs)
    for _ in range(WARM_UP_STEPS):
        _train(training_step, batch, should_stop)
    machine_profile.synchronize(device)
    n_steps, start = 0, time.perf_counter()
    while n_steps < MIN_STEPS or time.perf_counter() - start < MIN_SECONDS:
        _train(training_step, batch, should_stop)
        n_steps += 1
        machine_profile.synchronize(device)
    seconds = time.perf_counter() - start
    if device.type == "cuda":
        memory_mb = torch.cuda.max_memory_reserved(device) / 2**20
    else:
        memory_mb = psutil.Process().memory_info().rss / 2**20
    return n_steps * config.budget.batch / seconds, memory_mb


def _build_feature_extractor(
    config: RunConfig, settings: Settings, device: torch.device
) -> FeatureExtractor:
    """Builds the function that maps pictures to feature maps.

    A study may be planned before its VGG19 weights are downloaded; random weights take as long.
    """
    name = config.execution.perceptual_features
    if name == "vgg19" and weights.find(name, settings) is None:
        return backbones.PerceptualFeatures(name, None).to(device)
    return backbones.build_feature_extractor(config, settings, device)


def _train(training_step: TrainingStep, batch: Batch, should_stop: ShouldStop) -> None:
    if should_stop():
        raise StoppedError
    training_step.train(batch)


if __name__ == "__main__":
    worker_process.run(sys.argv[1:], probe)
