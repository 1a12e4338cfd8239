"""A process that trains along: it takes its share of every step and speaks with nobody else.

`torchrun` starts it beside the worker that leads; both are
`python -m engine.workers.train JOB TOKEN`.
"""

import signal

from engine.config import RunConfig
from engine.data import batches, packing
from engine.data.sources.registry import read_source
from engine.networks import backbones
from engine.settings import Settings
from engine.training import checkpoint, execution, loop
from engine.training.distributed import Team
from engine.training.state import build_state


def main() -> int:
    """Follows until the leader has had enough; returns the exit status."""
    # Whoever stops the run asks the leader, and all stop together.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = Settings.from_environment()
    team = Team.join()
    try:
        told = team.tell()
        if told:
            config = RunConfig.model_validate(told["config"])
            _follow(config, told["checkpoint"], settings, team)
    finally:
        team.leave()
    return 0


def _follow(
    config: RunConfig, saved: tuple[str, str | None] | None, settings: Settings, team: Team
) -> None:
    execution.set_up(config.execution)
    device = execution.choose_device(config.execution.device)
    packed = packing.load_packed(read_source(config.data, settings), config.budget.px, settings)
    pairs = batches.load_pairs(packed, "train", config.budget.n_train, device)
    is_resnet = config.budget.generator == "resnet18_unet"
    encoder = backbones.load_resnet18(None) if is_resnet else None  # its weights are the leader's
    state = build_state(config, device, encoder)
    if saved is not None:
        path, sha256 = saved
        state.load_state_dict(checkpoint.load(settings.artifacts / path, sha256))
    for network in (state.generator, state.discriminator):
        team.share_statistics(network)
    extract = backbones.build_extract(config, settings, device)
    loop.follow(config, state, pairs, extract, team)
