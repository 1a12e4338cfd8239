"""Evaluates a checkpoint of a run on a split, and builds the records to store.

A worker uses this module during a run, and the command `evaluate` after a run. On one machine, the
same checkpoint and protocol always give the same numbers.
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
from engine.evaluation.evaluate import FeatureMetrics
from engine.evaluation.image_meters import DiscriminatorAccuracy
from engine.evaluation.values import MetricResult, unavailable
from engine.metrics.catalog import CATALOG
from engine.records.runs import CheckpointEvaluation, Evaluation, ImageScore, Predictions
from engine.settings import Settings
from engine.system.files import replacing_array
from engine.training.state import TrainingState

# The reason for the missing accuracies of the discriminator.
NO_DISCRIMINATOR = "no discriminator: the recipe has no adversarial term"


@dataclass(frozen=True)
class CheckpointEvaluator:
    """Evaluates checkpoints of one run.

    Attributes:
        settings: the locations of the artifacts.
        run_id: the run.
        config: the run's resolved configuration.
        data_fingerprint: the hash of the packed pairs.
        feature_metrics: the families of feature metrics to compute.
    """

    settings: Settings
    run_id: int
    config: RunConfig
    data_fingerprint: str
    feature_metrics: Sequence[FeatureMetrics]

    def validate(
        self, state: TrainingState, pairs: PairSet, on_progress: Callable[[int], None]
    ) -> CheckpointEvaluation:
        """Evaluates a checkpoint on the validation split, to choose between checkpoints.

        The interval of the Frechet distance and the discriminator's accuracy are not computed, and
        metrics of single images are not stored.
        """
        results = self._measure(state, "val", pairs, on_progress, in_full=False)
        return CheckpointEvaluation(
            tuple(self._record(result, "val", state.epoch) for result in results)
        )

    def evaluate(
        self,
        state: TrainingState,
        split: str,
        pairs: PairSet,
        machine: Mapping[str, Any] | None,
        on_progress: Callable[[int], None],
        save_fakes: bool = True,
    ) -> CheckpointEvaluation:
        """Evaluates a checkpoint in full: all metrics, scores of single images, fakes and cost.

        Args:
            state: the checkpoint.
            split: `val` or `test`.
            pairs: the pairs of this split.
            machine: the machine's description for the protocol of timings; None: no timing.
            on_progress: called with the number of images done.
            save_fakes: whether to write the fakes to the run's folder, for pages and exports.
        """
        px = self.config.budget.px
        folder = self.settings.run_dir(self.run_id) / "predictions"
        path = folder / f"{split}-{state.epoch:05d}.npy"
        shape = (len(pairs), px, px, 3)
        with replacing_array(path, shape, np.uint8) if save_fakes else nullcontext() as fakes:
            results = self._measure(state, split, pairs, on_progress, in_full=True, fakes_out=fakes)
        is_refused = all(result.value is None for result in results)
        if is_refused and save_fakes:
            path.unlink()  # The file is incomplete: evaluation ended before the last image.
        if machine is not None and not is_refused:
            results += inference_cost.measure(self.config, state.sampler, pairs.device, machine)
        scores = tuple(
            ImageScore(self.run_id, split, state.epoch, picture, result.name, score)
            for result in results
            if result.per_picture is not None
            for picture, score in zip(pairs.names, result.per_picture, strict=True)
        )
        return CheckpointEvaluation(
            tuple(self._record(result, split, state.epoch) for result in results),
            scores,
            Predictions(self.run_id, split, state.epoch, self.settings.relative(path), pairs.names)
            if save_fakes and not is_refused
            else None,
        )

    def evaluate_fakes(
        self,
        fakes: NDArray[np.uint8],
        split: str,
        epoch: int,
        pairs: PairSet,
        on_progress: Callable[[int], None],
    ) -> list[Evaluation]:
        """Computes the feature metrics of the stored fakes of a checkpoint.

        Args:
            fakes: [N, px, px, 3] uint8 images in the order of the pairs.
            split: `val` or `test`.
            epoch: the epoch of the checkpoint.
            pairs: the N pairs of this split.
            on_progress: called with the number of images done.
        """
        results = evaluate.evaluate_fakes(
            evaluate.EvaluationSpec(self.config, split, self.data_fingerprint),
            fakes,
            pairs,
            self.feature_metrics,
            self.settings.features_dir,
            on_progress,
        )
        return [self._record(result, split, epoch) for result in results]

    def _measure(
        self,
        state: TrainingState,
        split: str,
        pairs: PairSet,
        on_progress: Callable[[int], None],
        in_full: bool,
        fakes_out: NDArray[np.uint8] | None = None,
    ) -> list[MetricResult]:
        """Computes the checkpoint's metrics.

        Args:
            state: the checkpoint.
            split: `val` or `test`.
            pairs: the pairs of this split.
            on_progress: called with the number of images done.
            in_full: whether to add the interval of the Frechet distance and the discriminator's
                accuracy.
            fakes_out: [N, px, px, 3] array that receives the fakes.
        """
        spec = evaluate.EvaluationSpec(self.config, split, self.data_fingerprint)
        results = evaluate.evaluate(
            spec,
            state.sampler,
            pairs,
            self.feature_metrics,
            self.settings.features_dir,
            discriminator=state.discriminator if in_full else None,
            fakes_out=fakes_out,
            frechet_interval=in_full,
            on_progress=on_progress,
        )
        if in_full and state.discriminator is None:
            protocol = spec.protocol(len(pairs))
            results += unavailable(DiscriminatorAccuracy.names, protocol, NO_DISCRIMINATOR)
        return results

    def _record(self, result: MetricResult, split: str, epoch: int) -> Evaluation:
        return Evaluation(
            run_id=self.run_id,
            split=split,
            name=result.name,
            value=result.value,
            n_pictures=result.n_pictures,
            epoch=epoch,
            low=result.low,
            high=result.high,
            missing=result.missing,
            note=result.note,
            reference=result.reference,
            protocol=result.protocol,
            halves=None if result.halves is None else result.halves.astype("<f4").tobytes(),
        )


def best_epoch(evaluations: Sequence[Evaluation], metric: str) -> int | None:
    """Returns the epoch with the best value of a metric; None if no evaluation has a value.

    Among equal values, the earliest epoch is the best. Only evaluations with the protocol of the
    newest evaluation are compared: the protocol differs, for example, after a change of the data or
    of the decoding.
    """
    valued = [each for each in evaluations if each.name == metric and each.value is not None]
    if not valued:
        return None
    comparable = [each for each in valued if each.protocol == valued[-1].protocol]
    sign = -1 if CATALOG[metric].better == "up" else 1
    return min(comparable, key=lambda each: (sign * (each.value or 0.0), each.epoch)).epoch
