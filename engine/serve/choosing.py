"""Which trained models there are, and which of a study's is the best. Torch-free.

No single metric chooses: distances in features prefer clean and pale to colourful pictures, pixel
errors prefer grey. A study's runs are ranked in each of several metrics, and the mean rank counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.metrics.catalog import CATALOG
from engine.records import Checkpoint, Evaluation, Run, RunState, Study
from engine.report import REPORTED_SPLIT, protocol_key
from engine.store import Store

KERNELS = ("kid", "kd_lite2")  # the first that was measured speaks for the distances
RANKED_BY = ("psnr", "ssim", "delta_e", "colorfulness_gap", "ab_divergence")


@dataclass(frozen=True)
class Candidate:
    """A trained model.

    Attributes:
        checkpoint: the chosen one.
        mean_rank: among the study's runs, 1 is the best; None where nothing was measured.
    """

    study: Study
    run: Run
    checkpoint: Checkpoint
    mean_rank: float | None

    @property
    def label(self) -> str:
        """The model in a few words."""
        return f"{self.run.config.label}, run {self.run.id}"


def candidates(store: Store, study_id: int | None = None) -> Iterator[list[Candidate]]:
    """The models of one study or of each, newest study first, best model first.

    What is archived is left out, unless its study is asked for.
    """
    studies = store.read_studies() if study_id is None else [store.read_study(study_id)]
    for study in sorted(studies, key=lambda it: -it.id):
        if study.archived_at is not None and study_id is None:
            continue
        found = _of_study(store, study)
        if found:
            yield found


def best(store: Store, study_id: int | None = None) -> Candidate | None:
    """The best model of a study, or of the newest study that has one; None without any."""
    return next((found[0] for found in candidates(store, study_id)), None)


def _of_study(store: Store, study: Study) -> list[Candidate]:
    done = [
        run
        for run in store.read_runs(study.id)
        if run.state == RunState.DONE and run.archived_at is None
    ]
    evaluations = store.read_evaluations([run.id for run in done], REPORTED_SPLIT)
    chosen = {run.id: run.best_epoch for run in done}
    ranks = mean_ranks([it for it in evaluations if it.epoch == chosen[it.run_id]])
    found = []
    for run in done:
        saved = [it for it in store.read_checkpoints(run.id) if it.is_whole]
        kept = next((it for it in saved if it.is_best), saved[0] if saved else None)
        if kept is not None:
            found.append(Candidate(study, run, kept, ranks.get(run.id)))
    return sorted(found, key=lambda it: (it.mean_rank or float("inf"), it.run.id))


def mean_ranks(evaluations: Sequence[Evaluation]) -> dict[int, float]:
    """Run -> its mean rank in the metrics that all runs were given alike; equals share a rank.

    A metric counts where each run that has any value has one of it, by one protocol.
    """
    by_metric: dict[str, dict[int, Evaluation]] = {}
    for it in evaluations:
        if it.value is not None:
            by_metric.setdefault(it.name, {})[it.run_id] = it
    runs = {it.run_id for it in evaluations if it.value is not None}
    kernel = next((name for name in KERNELS if _is_fair(by_metric.get(name, {}), runs)), None)
    names = [name for name in (kernel, *RANKED_BY) if name in by_metric]
    fair = [by_metric[name] for name in names if name and _is_fair(by_metric[name], runs)]
    if not fair:
        return {}
    ranks = [_ranks(column) for column in fair]
    return {run: sum(it[run] for it in ranks) / len(ranks) for run in runs}


def _is_fair(column: Mapping[int, Evaluation], runs: set[int]) -> bool:
    return column.keys() == runs and len({protocol_key(it) for it in column.values()}) == 1


def _ranks(column: Mapping[int, Evaluation]) -> dict[int, float]:
    sign = -1 if CATALOG[next(iter(column.values())).name].better == "up" else 1
    values = {run: sign * (it.value or 0.0) for run, it in column.items()}
    ordered = sorted(values.values())
    return {
        run: 1 + ordered.index(value) + (ordered.count(value) - 1) / 2
        for run, value in values.items()
    }
