"""Measures a checkpoint of a run again, by the protocol that the run was measured by."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.data import batches, packing
from engine.data.sources.registry import read_source
from engine.errors import BadInputError, EngineError
from engine.evaluation import evaluate
from engine.evaluation.checkpoint_evaluator import Court
from engine.networks import backbones
from engine.records.runs import Judgement, Run
from engine.settings import Settings
from engine.store import Store
from engine.training import checkpoint, execution
from engine.training.state import build_state

ROLES = ("best", "last")


@dataclass(frozen=True)
class _Found:
    """A checkpoint's file; `sha256` is None for one that nobody vouches for."""

    path: Path
    sha256: str | None


def evaluate_again(
    store: Store,
    settings: Settings,
    run: Run,
    wanted: str | Path,
    split: str,
    features: str,
    on_progress: Callable[[int, int], None],
) -> Judgement:
    """Evaluates a checkpoint of an ended run; the run's own checkpoints are recorded again.

    Timings are not repeated: they are of the moment, not of the checkpoint.

    Args:
        store: where the run is.
        settings: where files are.
        run: which.
        wanted: `best`, `last`, or the path of a checkpoint of the same networks.
        split: `val` or `test`.
        features: `all`, `none` or the name of one network's weights.
        on_progress: told pictures done and in all.

    Raises:
        BadInputError: the run has not ended, never started, or has no such checkpoint.
        EngineError: a file is missing, damaged or of other networks.
    """
    if not run.state.is_finished():
        raise BadInputError(f"Run {run.id} is {run.state}; it can be evaluated when it has ended.")
    if run.resolved is None:
        raise BadInputError(f"Run {run.id} never started: it has no checkpoint.")
    found = _find(store, settings, run, wanted)
    device = execution.choose_device(run.resolved.execution.device)
    torch.set_num_threads(int(run.resolved.execution.threads))
    budget = run.resolved.budget
    packed = packing.prepare(read_source(run.resolved.data, settings), budget.px, settings)
    packed.require(run.environment)
    limit = budget.n_test if split == "test" else budget.n_val
    pairs = batches.load_pairs(packed, split, limit, device)

    encoder = backbones.load_resnet18(None) if budget.generator == "resnet18_unet" else None
    state = build_state(run.resolved, device, encoder)
    try:
        state.load_state_dict(checkpoint.load(found.path, found.sha256))
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            f"{found.path} is no checkpoint of run {run.id}'s networks ({type(error).__name__})."
        ) from error
    judges = evaluate.load_judges(settings, device, features)
    court = Court(settings, run.id, run.resolved, packed.fingerprint, judges)
    own = found.sha256 is not None
    judgement = court.judge(
        state, split, pairs, None, lambda done: on_progress(done, len(pairs)), keep=own
    )
    if own:
        store.repeat_judgement(run.id, judgement)
    return judgement


def _find(store: Store, settings: Settings, run: Run, wanted: str | Path) -> _Found:
    saved = store.read_checkpoints(run.id)
    if isinstance(wanted, Path):
        if not _is_file(wanted):
            shown = str(wanted)[:120]
            raise BadInputError(f"--checkpoint is best, last or a file; there is no file {shown}.")
        return _Found(wanted, None)
    chosen = [it for it in saved if (it.is_best if wanted == "best" else it.is_whole)]
    if not chosen:
        raise BadInputError(f"Run {run.id} has no {wanted} checkpoint.")
    return _Found(settings.artifacts / chosen[0].path, chosen[0].sha256)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False
