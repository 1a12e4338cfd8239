"""Prepares a training run: downloads its weights, packs its data and resolves its config."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from engine import weights
from engine.config import RunConfig
from engine.data import packing, region_labels
from engine.data.batches import PairSet
from engine.data.packing import PackedPairs
from engine.data.sources.registry import parse_source
from engine.data.survey import summary
from engine.errors import EngineError, MissingWeightsError
from engine.metrics.catalog import CATALOG
from engine.networks.palette_generator import find_reader
from engine.records.runs import Run
from engine.settings import Settings
from engine.store import DatabaseReplacedError, LostJobError, utc_now
from engine.training import execution, loop, source_feature_cache
from engine.training.distributed import ProcessGroup
from engine.training.source_feature_cache import SourceFeatureCache
from engine.weights import download
from engine.workers.recorder import Recorder

logger = logging.getLogger(__name__)

TrackProgress = Callable[[str, int], Callable[[int], None]]


def fetch_weights(recorder: Recorder, config: RunConfig) -> None:
    """Waits until the weights that the run uses are downloaded.

    With CHROMABENCH_FETCH=auto this process downloads them; otherwise it only waits for a download
    that another process has started. If a download fails, the attempt has a note with the reason:
    a run that can be trained without these weights continues.

    Raises:
        MissingWeightsError: the weights of the `choose_by` metric are missing.
        StoppedError: a stop was requested.
    """
    for name in weights.missing_downloads([config], recorder.settings):
        if weights.is_expected(name, recorder.settings):
            _fetch_file(recorder, name)
    network = CATALOG[config.budget.choose_by].network
    if network and weights.find(network, recorder.settings) is None:
        raise MissingWeightsError(
            f"choose_by={config.budget.choose_by} cannot be measured: "
            f"{weights.missing_message(network)}"
        )


def _fetch_file(recorder: Recorder, name: str) -> None:
    settings, entry = recorder.settings, weights.get_weights(name)
    phase = f"downloading the {entry.label} weights"
    report = recorder.track_progress(phase, (entry.n_bytes or 0) // 2**20, " MB")
    fetch = download.download_weights if settings.fetch == "auto" else download.wait_for_download
    try:
        fetch(name, settings, lambda done, _total: report(done // 2**20))
    except (LostJobError, DatabaseReplacedError):
        raise
    except EngineError as error:
        recorder.add_note(str(error))


def prepare_data(recorder: Recorder, run: Run) -> PackedPairs:
    """Packs the pairs of the run's source, unless they are packed already.

    Raises:
        EngineError: the pairs have changed since another run of the study was trained on them.
        StoppedError: a stop was requested.
    """
    settings, px = recorder.settings, run.config.budget.px
    source = parse_source(run.config.data, settings)
    if change := summary.change_since_scan(source, settings):
        logger.warning("%s", change)
    on_progress = recorder.track_progress("packing", len(source.names()))
    packed = packing.prepare(source, px, settings, lambda done, _total: on_progress(done))
    for fault in packed.unusable:
        logger.warning("left out: %s: %s", fault.file, fault.detail)
    for other in recorder.store.runs.read_all(run.study_id):
        if packed.has_changed(other.environment):
            raise EngineError(
                f"the pictures of {source.title} have changed since run {other.id} of this study "
                f"began{packed.renderer_change(other.environment)}; their numbers could not be "
                "compared. Start a new study"
            )
    return packed


def resolve_config(
    recorder: Recorder, run: Run, packed: PackedPairs, group: ProcessGroup
) -> RunConfig:
    """Resolves each `auto` of the run's config and configures this process.

    The first attempt stores the resolved config, and later attempts use it.

    Args:
        recorder: the recorder of this attempt.
        run: the run.
        packed: the run's packed pairs.
        group: the processes that train the run together.

    Raises:
        EngineError: this machine, or this group of processes, cannot train the run.
    """
    n_train = len(packed.positions("train", run.config.budget.n_train))
    config = run.resolved or execution.resolve(run.config, n_train, recorder.settings)
    execution.configure_process(config.execution)
    group.require_trainable(config)
    if run.resolved is not None:
        return config
    n_steps = loop.count_steps(config.budget, n_train)
    environment = {
        **execution.describe_environment(execution.choose_device(config.execution.device)),
        **packed.describe(),
        "ranks": group.size,
    }
    start_run = recorder.store.runs.start
    recorder.write(lambda: start_run(recorder.job, config, n_steps, environment, utc_now()))
    logger.info("resolved config: %s", config.model_dump_json())
    return config


def encoder_weights_path(config: RunConfig, settings: Settings) -> Path | None:
    """Returns the file of the encoder's ImageNet weights, or None if the run uses none.

    Raises:
        MissingWeightsError: the file is not on this machine.
    """
    if not config.budget.has_encoder or config.execution.encoder_weights == "none":
        return None
    return weights.require("resnet18", settings)[0]


def reader_weights_path(config: RunConfig, settings: Settings) -> Path | None:
    """Returns the file of the weights of the network that reads the sources; None if there is none.

    Raises:
        MissingWeightsError: the file is not on this machine.
    """
    name = config.configuration.source_features
    return None if name == "none" else weights.require(name, settings)[0]


def load_region_labels(
    config: RunConfig, packed: PackedPairs, settings: Settings, track_progress: TrackProgress
) -> NDArray[np.uint8] | None:
    """Returns the region labels of all packed pairs; None if the generator uses no regions.

    Args:
        config: the resolved config of the run.
        packed: the run's packed pairs.
        settings: the settings with the folder of packed data.
        track_progress: (phase, number of pairs) -> function that is called with the pairs done.

    Raises:
        EngineError: the labels cannot be stored.
        StoppedError: a stop was requested.
    """
    if not config.configuration.uses_regions:
        return None
    source = parse_source(config.data, settings)
    on_progress = track_progress("finding regions", len(packed.pairs))
    return region_labels.load_region_labels(
        packed, source, settings, lambda done, _total: on_progress(done)
    )


def load_source_features(
    config: RunConfig,
    generator: nn.Module,
    pairs: PairSet,
    packed: PackedPairs,
    settings: Settings,
    track_progress: TrackProgress,
) -> SourceFeatureCache | None:
    """Returns the cached features of the training sources.

    Args:
        config: the resolved config of the run.
        generator: the generator, on the device of the pairs.
        pairs: the training split.
        packed: the run's packed pairs.
        settings: the locations of packed data and weights.
        track_progress: (phase, number of pairs) -> function that is called with the pairs done.

    Returns:
        None if the generator reads no features, or if they are computed at every step because
        pictures are shifted or the cache would be too large.

    Raises:
        EngineError: the features cannot be stored.
        StoppedError: a stop was requested.
    """
    reader = find_reader(generator)
    is_whole = pairs.is_on_device and pairs.rows is None
    if reader is None or not is_whole:
        return None
    if not source_feature_cache.should_cache(config.budget, len(pairs), pairs.device):
        return None
    source, name = parse_source(config.data, settings), config.configuration.source_features
    path = source_feature_cache.feature_file(
        packing.packed_dir(source, packed.px, settings), weights.require(name, settings)[1]
    )
    on_progress = track_progress("reading sources", len(pairs))
    return source_feature_cache.prepare_source_features(
        reader, pairs, packed, path, lambda done, _total: on_progress(done)
    )


def warm_up_phase(config: RunConfig) -> str | None:
    """Returns the phase before the first step; None if this phase takes only a moment."""
    if config.execution.compile == "on":
        return "compiling: the first steps take a minute or two"
    if config.execution.keep_maps == "on":
        return "making the feature maps of all targets"
    return None
