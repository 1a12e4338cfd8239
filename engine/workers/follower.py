"""Trains as a rank above 0, which computes its share of every step and stores nothing.

`torchrun` starts all ranks with the same command. Only rank 0 writes to the database and
the artifacts folder, except for the log.
"""

import logging
import signal
from collections.abc import Callable

from engine.config import RunConfig
from engine.data import batches, packing
from engine.data.sources.registry import parse_source
from engine.networks import backbones
from engine.settings import Settings
from engine.system import logs
from engine.training import checkpoint, execution, loop
from engine.training.distributed import ProcessGroup
from engine.training.state import build_state
from engine.workers import setup

logger = logging.getLogger(__name__)


def main() -> int:
    """Runs a rank above 0 until rank 0 stops; returns the exit status."""
    # Rank 0 receives the stop request and stops all ranks at the same step.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logs.adopt_loggers()
    settings = Settings.from_environment()
    group = ProcessGroup.join()
    logger.info("computes a share of each step, with %d other ranks", group.size - 1)
    try:
        run_setup = group.broadcast_setup()
        if run_setup:
            config = RunConfig.model_validate(run_setup["config"])
            _follow(config, run_setup["checkpoint"], settings, group)
    finally:
        group.close()
    return 0


def _follow(
    config: RunConfig,
    checkpoint_file: tuple[str, str | None] | None,
    settings: Settings,
    group: ProcessGroup,
) -> None:
    execution.configure_process(config.execution)
    device = execution.choose_device(config.execution.device)
    packed = packing.load_packed(parse_source(config.data, settings), config.budget.px, settings)
    labels = setup.load_region_labels(config, packed, settings, _ignore_progress)
    pairs = batches.load_pair_set(packed, "train", config.budget.n_train, device, labels)
    # DistributedDataParallel copies rank 0's weights. Only the features of the sources are computed
    # before, for which the network that reads them needs its own weights.
    state = build_state(config, device, reader_weights=setup.reader_weights_path(config, settings))
    features = setup.load_source_features(
        config, state.generator, pairs, packed, settings, _ignore_progress
    )
    if checkpoint_file is not None:
        path, sha256 = checkpoint_file
        state.load_state_dict(checkpoint.load(settings.artifacts / path, sha256))
    for network in state.networks:
        group.sync_batch_norm(network)
    extract = backbones.build_feature_extractor(config, settings, device)
    loop.follow(config, state, pairs, extract, group, features)


def _ignore_progress(phase: str, total: int) -> Callable[[int], None]:
    """Discards the progress of a phase, which the leader reports."""
    return lambda done: None
