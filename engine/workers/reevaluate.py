"""Evaluates a checkpoint of an ended run again, with the protocol of the run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from engine.config import REPORTED_SPLIT
from engine.data import batches, packing
from engine.data.sources.registry import parse_source
from engine.errors import BadInputError, EngineError
from engine.evaluation import evaluate
from engine.evaluation.checkpoint_evaluator import CheckpointEvaluator
from engine.options.decodings import Decoding
from engine.records.runs import CheckpointEvaluation, Evaluation, Run
from engine.settings import Settings
from engine.store import Store
from engine.training import checkpoint, execution
from engine.training.state import build_state

ROLES = ("best", "last")


@dataclass(frozen=True)
class _CheckpointFile:
    """A checkpoint file; `sha256` is None if the caller passed a path, which has no record."""

    path: Path
    sha256: str | None


@dataclass(frozen=True)
class ReEvaluation:
    """The results of a checkpoint that was evaluated again.

    Attributes:
        evaluations: the results; a value that was kept has a note with the reason.
        is_stored: whether the results were stored.
        decoding: how pictures were read from the palette; None without a palette.
        is_new_decoding: whether the run decoded its pictures differently before.
    """

    evaluations: tuple[Evaluation, ...]
    is_stored: bool
    decoding: Decoding | None
    is_new_decoding: bool


def evaluate_again(
    store: Store,
    settings: Settings,
    run: Run,
    choice: str | Path,
    split: str,
    features: str,
    on_progress: Callable[[int, int], None],
    decoding: str | None = None,
) -> ReEvaluation:
    """Evaluates a checkpoint of an ended run; stores the results if the checkpoint is recorded.

    With another decoding than that of the run, only the results of the best checkpoint on the test
    split are stored. The decoding then becomes that of the run.

    Timings are not measured again: they depend on the load of the machine, not on the checkpoint.
    If a metric cannot be computed now, for example because its weights are not on this machine, a
    stored value of the metric is kept.

    Args:
        store: the store with the run.
        settings: the settings of the installation.
        run: the run.
        choice: `best`, `last`, or the path of a checkpoint file of the same networks.
        split: `val` or `test`.
        features: `all`, `none` or the name of one network's weights.
        on_progress: called with the number of evaluated images and the total number.
        decoding: how pictures are read from the palette; None: as the run decodes them.

    Returns:
        The results, and whether they were stored.

    Raises:
        BadInputError: the run has not ended, never started, has no such checkpoint, or cannot be
            decoded in this way.
        EngineError: the file is missing or damaged, or belongs to other networks, or the pairs have
            changed since the run.
    """
    if not run.state.is_finished():
        raise BadInputError(f"Run {run.id} is {run.state}; it can be evaluated when it has ended.")
    if run.resolved is None:
        raise BadInputError(f"Run {run.id} never started: it has no checkpoint.")
    config = run.resolved if decoding is None else run.resolved.with_decoding(decoding)
    file = _find_checkpoint(store, settings, run, choice)
    device = execution.choose_device(config.execution.device)
    torch.set_num_threads(int(config.execution.threads))
    budget = config.budget
    packed = packing.prepare(parse_source(config.data, settings), budget.px, settings)
    packed.require_unchanged(run.environment)
    limit = budget.n_test if split == "test" else budget.n_val
    pairs = batches.load_pair_set(packed, split, limit, device)

    state = build_state(config, device)
    try:
        state.load_state_dict(checkpoint.load(file.path, file.sha256))
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(
            f"{file.path} is not a checkpoint of run {run.id}'s networks ({type(error).__name__})."
        ) from error
    evaluator = CheckpointEvaluator(
        settings,
        run.id,
        config,
        packed.fingerprint,
        evaluate.load_feature_metrics(settings, device, features),
    )
    is_new_decoding = config.decoding != run.resolved.decoding
    is_reported = choice == "best" and split == REPORTED_SPLIT
    is_stored = file.sha256 is not None and (is_reported or not is_new_decoding)
    result = evaluator.evaluate(
        state,
        split,
        pairs,
        machine=None,
        on_progress=lambda done: on_progress(done, len(pairs)),
        save_fakes=is_stored,
    )
    if is_stored:
        store.evaluations.replace(run.id, result, config if is_new_decoding else None)
        result = _with_kept_values(store, run, result)
    return ReEvaluation(result.evaluations, is_stored, config.decoding, is_new_decoding)


def _with_kept_values(store: Store, run: Run, result: CheckpointEvaluation) -> CheckpointEvaluation:
    """Replaces the missing values of an evaluation by the stored values that were kept."""
    stored = {
        (each.split, each.epoch, each.name): each for each in store.evaluations.read([run.id])
    }
    evaluations = []
    for evaluation in result.evaluations:
        kept = stored[evaluation.split, evaluation.epoch, evaluation.name]
        if evaluation.value is None and kept.value is not None:
            note = f"computed earlier; now {evaluation.missing}"
            evaluation = replace(kept, note="; ".join(filter(None, (note, kept.note))))
        evaluations.append(evaluation)
    return replace(result, evaluations=tuple(evaluations))


def _find_checkpoint(
    store: Store, settings: Settings, run: Run, choice: str | Path
) -> _CheckpointFile:
    if isinstance(choice, Path):
        if not _is_file(choice):
            name = str(choice)[:120]
            raise BadInputError(f"--checkpoint is best, last or a file; there is no file {name}.")
        return _CheckpointFile(choice, None)
    read = store.checkpoints.read_best if choice == "best" else store.checkpoints.read_last
    record = read(run.id)
    if record is None:
        raise BadInputError(f"Run {run.id} has no {choice} checkpoint.")
    return _CheckpointFile(settings.artifacts / record.path, record.sha256)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long, for example
        return False
