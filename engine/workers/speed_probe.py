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
from engine.networks.efficientnet_lite import FEATURES
from engine.networks.source_features import map_shapes
from engine.records.curves import Probe
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.system.processes import host_id
from engine.training import execution, loop, machine_profile, source_feature_cache
from engine.training.losses import FeatureExtractor
from engine.training.source_feature_cache import SourceFeatureCache
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
    training_step, batch = _build_training_step(config, settings, device)
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


def _build_training_step(
    config: RunConfig, settings: Settings, device: torch.device
) -> tuple[TrainingStep, Batch]:
    """Builds the training step of a run, and a batch of random images.

    Runs train with stored region labels and stored features of their sources. Here both are made
    up, because their values do not affect the speed.
    """
    state = build_state(config, device)
    n, px = config.budget.batch, config.budget.px
    generator = torch.Generator().manual_seed(0)
    shape = (n, px, px, 6)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device)
    augmentations = torch.zeros(n, 4, dtype=torch.int64, device=device)
    augmentations[:, 0] = torch.arange(n)
    labels = None
    if config.configuration.uses_regions:
        labels = torch.zeros(n, px, px, dtype=torch.uint8, device=device)
    pairs = PairSet(pixels, tuple(map(str, range(n))), device, labels=labels)
    extract = _build_feature_extractor(config, settings, device)
    source_features = _make_source_features(config, generator, device)
    training_step = loop.build_training_step(
        config, state, extract, pairs, source_features=source_features
    )
    return training_step, Batch(pixels, augmentations, labels)


def _make_source_features(
    config: RunConfig, generator: torch.Generator, device: torch.device
) -> SourceFeatureCache | None:
    """Makes random features of the sources; None if runs compute theirs at every step."""
    budget = config.budget
    if config.configuration.source_features == "none":
        return None
    if not source_feature_cache.should_cache(budget, N_TRAIN, device):
        return None
    shapes = [(height, width, channels) for channels, height, width in map_shapes(budget.px)]
    stride8, stride16, pooled = (
        torch.rand(2 * budget.batch, *shape, generator=generator).half().to(device)
        for shape in (*shapes, (FEATURES,))
    )
    return SourceFeatureCache(stride8, stride16, pooled)


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
