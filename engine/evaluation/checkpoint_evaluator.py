"""A checkpoint of a run -> what it is worth on a split, as the records that are stored.

Used by the worker while a run trains and by whoever repeats an evaluation later, so that both
do the same: the same protocol and checkpoint give the same numbers on the same machine.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.config import RunConfig
from engine.data.batches import PairSet
from engine.evaluation import evaluate, inference_cost
from engine.evaluation.evaluate import Judge
from engine.evaluation.values import Value
from engine.metrics.catalog import CATALOG
from engine.records.runs import Evaluation, ImageScore, Judgement, Predictions
from engine.settings import Settings
from engine.system.files import replacing_array
from engine.training.state import TrainingState


@dataclass(frozen=True)
class Court:
    """All that stays the same while checkpoints of one run are judged."""

    settings: Settings
    run_id: int
    config: RunConfig
    data_fingerprint: str
    judges: Sequence[Judge]

    def validate(
        self, state: TrainingState, pairs: PairSet, on_progress: Callable[[int], None]
    ) -> Judgement:
        """A checkpoint on the validation split: what is needed to choose between checkpoints."""
        values = self._measure(state, "val", pairs, on_progress, in_full=False)
        return Judgement(tuple(self._record(it, "val", state.epoch) for it in values))

    def judge(
        self,
        state: TrainingState,
        split: str,
        pairs: PairSet,
        machine: Mapping[str, Any] | None,
        on_progress: Callable[[int], None],
        keep: bool = True,
    ) -> Judgement:
        """A checkpoint in full: every metric, the scores and the fakes of single pictures, cost.

        Args:
            state: the checkpoint.
            split: `val` or `test`.
            pairs: of this split.
            machine: what stands in the protocol of timings; None: nothing is timed.
            on_progress: told the pictures done so far.
            keep: write the fakes beside the run, where pages and exports find them.
        """
        px = self.config.budget.px
        folder = self.settings.run_dir(self.run_id) / "predictions"
        path = folder / f"{split}-{state.epoch:05d}.npy"
        shape = (len(pairs), px, px, 3)
        with replacing_array(path, shape, np.uint8) if keep else nullcontext() as fakes:
            values = self._measure(state, split, pairs, on_progress, in_full=True, keep=fakes)
        refused = all(value.value is None for value in values)
        if refused and keep:
            path.unlink()  # what a generator made before it was refused is nothing to look at
        if machine is not None and not refused:
            values += inference_cost.measure(self.config, state.sampler, pairs.device, machine)
        scores = tuple(
            ImageScore(self.run_id, split, state.epoch, picture, value.name, score)
            for value in values
            if value.per_picture is not None
            for picture, score in zip(pairs.names, value.per_picture, strict=True)
        )
        return Judgement(
            tuple(self._record(it, split, state.epoch) for it in values),
            scores,
            Predictions(self.run_id, split, state.epoch, self.settings.relative(path), pairs.names)
            if keep and not refused
            else None,
        )

    def _measure(
        self,
        state: TrainingState,
        split: str,
        pairs: PairSet,
        on_progress: Callable[[int], None],
        in_full: bool,
        keep: NDArray[np.uint8] | None = None,
    ) -> list[Value]:
        """The checkpoint's values; in full: with intervals of all, and the discriminator asked."""
        return evaluate.evaluate(
            evaluate.Question(self.config, split, self.data_fingerprint),
            state.sampler,
            pairs,
            self.judges,
            self.settings.features_dir,
            discriminator=state.discriminator if in_full else None,
            keep=keep,
            thorough=in_full,
            on_progress=on_progress,
        )

    def _record(self, value: Value, split: str, epoch: int) -> Evaluation:
        return Evaluation(
            run_id=self.run_id,
            split=split,
            name=value.name,
            value=value.value,
            n_pictures=value.n_pictures,
            epoch=epoch,
            low=value.low,
            high=value.high,
            missing=value.missing,
            note=value.note,
            reference=value.reference,
            protocol=value.protocol,
            halves=None if value.halves is None else value.halves.astype("<f4").tobytes(),
        )


def choose(evaluations: Sequence[Evaluation], name: str) -> int | None:
    """The epoch with the best value of a metric, the earlier of equals; None without any.

    Values of another protocol than the newest, as after a change of the data, do not count.
    """
    known = [it for it in evaluations if it.name == name and it.value is not None]
    if not known:
        return None
    alike = [it for it in known if it.protocol == known[-1].protocol]
    sign = -1 if CATALOG[name].better == "up" else 1
    return min(alike, key=lambda it: (sign * (it.value or 0.0), it.epoch)).epoch
