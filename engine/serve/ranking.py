"""Which trained models there are, and which of a study's is the best. Torch-free.

No single metric chooses: distances in features prefer clean and pale to colourful pictures, pixel
errors prefer grey. A study's runs are ranked in each of several metrics, and the mean rank counts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CATALOG
from engine.records.runs import Checkpoint, Evaluation, Run, RunState, Study
from engine.report.comparison import protocol_key
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


def chosen_checkpoint(store: Store, run_id: int) -> Checkpoint | None:
    """The one that validation chose, else the newest; None before there is any."""
    saved = [it for it in store.read_checkpoints(run_id) if it.is_whole]
    return next((it for it in saved if it.is_best), saved[0] if saved else None)


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
        kept = chosen_checkpoint(store, run.id)
        if kept is not None:
            found.append(Candidate(study, run, kept, ranks.get(run.id)))
    return sorted(found, key=lambda it: (it.mean_rank or float("inf"), it.run.id))


def mean_ranks(evaluations: Sequence[Evaluation]) -> dict[int, float]:
    """Run -> its mean rank over metrics; equals share a rank.

    Only runs that were measured alike are ranked: those that have the same metrics by the protocol
    that most have; the largest such group. The others have no rank.
    """
    by_metric: dict[str, dict[int, Evaluation]] = {}
    for it in evaluations:
        if it.value is not None:
            by_metric.setdefault(it.name, {})[it.run_id] = it
    kernel = next((name for name in KERNELS if name in by_metric), None)
    alike: dict[str, dict[int, Evaluation]] = {}
    for name in (kernel, *RANKED_BY):
        if name in by_metric:
            keys = Counter(protocol_key(it) for it in by_metric[name].values())
            usual = keys.most_common(1)[0][0]
            column = {run: it for run, it in by_metric[name].items() if protocol_key(it) == usual}
            alike[name] = column
    measured = {
        run: tuple(name for name in alike if run in alike[name])
        for run in {run for column in alike.values() for run in column}
    }
    if not measured:
        return {}
    names = max(Counter(measured.values()).items(), key=lambda it: (it[1], len(it[0])))[0]
    group = [run for run, its in measured.items() if set(names) <= set(its)]
    ranks = [_ranks({run: alike[name][run] for run in group}) for name in names]
    return {run: sum(it[run] for it in ranks) / len(ranks) for run in group}


def _ranks(column: Mapping[int, Evaluation]) -> dict[int, float]:
    sign = -1 if CATALOG[next(iter(column.values())).name].better == "up" else 1
    values = {run: sign * (it.value or 0.0) for run, it in column.items()}
    ordered = sorted(values.values())
    return {
        run: 1 + ordered.index(value) + (ordered.count(value) - 1) / 2
        for run, value in values.items()
    }
