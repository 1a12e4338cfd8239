"""What a worker does before it trains: packs, decides what is `auto`, loads an encoder."""

import torch
from torchvision.models import ResNet

from engine import weights
from engine.config import RunConfig
from engine.data import batches, packing
from engine.data.packing import PackedPairs
from engine.data.sources.registry import read_source
from engine.data.survey import summary
from engine.errors import EngineError
from engine.networks import backbones
from engine.records.runs import Run
from engine.settings import Settings
from engine.store import utc_now
from engine.training import execution, loop
from engine.training.distributed import Team
from engine.workers.recorder import Recorder


def pack(recorder: Recorder, run: Run) -> PackedPairs:
    """The packed pairs, the same that the study's other runs are trained on.

    Raises:
        EngineError: the pictures have changed since the study began.
    """
    config, settings = run.config, recorder.settings
    source = read_source(config.data, settings)
    if changed := summary.changed_since(source, settings):
        print(changed, flush=True)
    told = recorder.progress("packing", len(source.names()))
    packed = packing.prepare(source, config.budget.px, settings, lambda done, _total: told(done))
    for fault in packed.left_out:
        print(f"left out: {fault.file}: {fault.detail}", flush=True)
    for other in recorder.store.read_runs(run.study_id):
        seen = (other.environment or {}).get("data_fingerprint", packed.fingerprint)
        if seen != packed.fingerprint:
            raise EngineError(
                f"the pictures of {source.title} have changed since run {other.id} of this study "
                "began; their numbers could not be compared. Start a new study"
            )
    return packed


def resolve(recorder: Recorder, run: Run, packed: PackedPairs, team: Team) -> RunConfig:
    """Decides what is `auto` at the first attempt; later ones use what was decided.

    Raises:
        EngineError: the machine cannot train the run as it is.
    """
    n_train = len(packed.members("train", run.config.budget.n_train))
    config = run.resolved or execution.resolve(run.config, n_train, recorder.settings)
    execution.set_up(config.execution)
    team.check(config)
    if run.resolved is not None:
        return config
    n_steps = loop.steps_per_epoch(config.budget, n_train) * config.budget.epochs
    environment = {
        **execution.describe(execution.choose_device(config.execution.device)),
        "data_fingerprint": packed.fingerprint,
        "ranks": team.size,
    }
    start_run = recorder.store.start_run
    recorder.write(lambda: start_run(recorder.job, config, n_steps, environment, utc_now()))
    print(f"run {run.id}: {config.model_dump_json()}", flush=True)
    return config


def build_encoder(config: RunConfig, settings: Settings) -> ResNet | None:
    """The ResNet-18 of study 2's generator, starting as was chosen before the start."""
    if config.budget.generator != "resnet18_unet":
        return None
    if config.execution.encoder_weights == "none":
        torch.manual_seed(batches.derive_seed(config.seed, 0, "encoder"))
        return backbones.load_resnet18(None)
    return backbones.load_resnet18(weights.require("resnet18", settings)[0])


def describe_warm_up(config: RunConfig) -> str | None:
    """What comes before the first step, where it takes more than a moment."""
    if config.execution.compile == "on":
        return "compiling: the first steps take a minute or two"
    if config.execution.keep_maps == "on":
        return "making the feature maps of all targets"
    return None
