"""Everything that belongs to an export, before it is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from engine.errors import EngineError
from engine.images import grids
from engine.metrics.catalog import CATALOG, CURVES
from engine.records.comparison import Comparison, RunStability
from engine.records.runs import Run, Study
from engine.report import charts, html_report, stability, tables
from engine.report.cases import Cases, Which, load_cases
from engine.report.comparison import compare
from engine.report.export import csv_files
from engine.report.findings import findings
from engine.settings import Settings
from engine.store import Store

CURVE_PARTS = 120
N_CASES = 8
COMPARED_FIGURES = ("kid", "kd_lite2", "psnr", "ssim", "delta_e", "colorfulness", "ab_divergence")
CURVE_FIGURES = (
    *("l1", "adversarial", "d_loss", "perceptual", "total_variation", "val_psnr"),
    *("d_train_accuracy", "g_loss", "val_g_loss"),
)

ABOUT_CURVES = (
    "Term by term: recipes differ, so their totals do not compare and their terms do. Lines are "
    "means over seeds, bands what the seeds span."
)
ABOUT_STABILITY = (
    "The sketch study's nine figures, of the loss averaged over up to 60 equal parts of a run: a "
    "dot per seed, a line at the mean. A term means the same in every recipe, the generator's "
    "total does not."
)
ABOUT_METRICS = (
    "Values on the left, differences between configurations on the right, with 95 % intervals. "
    "Differences are filled where they are clear after Holm's correction for all pairs of a metric."
)

Progress = Callable[[str], None]


@dataclass
class Bundle:
    """Everything that an export holds, before it is written.

    Attributes:
        texts: file name -> content.
        pictures: the report's pictures, `figures/NAME.png`.
        figures: the report's interactive figures, `figures/NAME.html` each.
        remarks: what could not be made, in sentences.
    """

    texts: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, html_report.Picture] = field(default_factory=dict)
    figures: list[html_report.Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def build_bundle(
    store: Store, settings: Settings, study_id: int, on_progress: Progress = lambda doing: None
) -> Bundle:
    """Reads a study and makes everything that belongs to it."""
    on_progress("reading the study")
    study, runs = store.read_study(study_id), store.read_runs(study_id)
    ids = [run.id for run in runs]
    comparison = compare(store, study_id)
    found = findings(comparison)
    steady = steadiness(store, runs)
    bundle = Bundle()

    bundle.texts["summary.csv"] = tables.to_csv(comparison)
    bundle.texts["evaluations.csv"] = csv_files.evaluations_csv(store, runs)
    bundle.texts["training_log.csv"] = csv_files.training_csv(store, runs)
    bundle.texts["stability.csv"] = csv_files.stability_csv(runs, steady)
    bundle.texts["image_scores.csv"] = csv_files.scores_csv(store, runs)
    bundle.texts["results.json"] = csv_files.results_json(store, study, runs, comparison, found)

    on_progress("drawing figures")
    _add_figures(bundle, comparison, runs, store.read_curves(ids, CURVES, CURVE_PARTS), steady)
    on_progress("drawing pictures")
    _add_pictures(bundle, store, settings, study)
    environment = next((run.environment for run in runs if run.environment), None) or {}
    bundle.texts["report.html"] = html_report.build_page(
        comparison,
        found,
        runs,
        bundle.figures,
        list(bundle.pictures.values()),
        {"chromabench": metadata.version("chromabench"), **environment},
    )
    return bundle


def steadiness(store: Store, runs: Sequence[Run]) -> dict[int, RunStability]:
    """How steadily each run trained, of those that have."""
    ids = [run.id for run in runs]
    curves = store.read_curves(ids, CURVES, stability.PARTS)
    won = store.read_step_shares(ids, stability.WON_ABOVE, stability.WON_BELOW)
    return {
        run_id: stability.measure(
            {
                name: [value for _, value in curve]
                for (it, name), curve in curves.items()
                if it == run_id
            },
            won.get(run_id),
        )
        for run_id in ids
        if (run_id, "g_loss") in curves
    }


def case_picture(cases: Cases, which: Which) -> html_report.Picture:
    """Sketch, target and every configuration, with each picture's score below."""
    metric = CATALOG[cases.metric]
    rows = {cases.source_label: cases.source, "target": cases.target, **cases.fakes}
    captions = {
        name: [f"{metric.format(score)} {metric.unit}".strip() for score in scores]
        for name, scores in cases.scores.items()
    }
    title = {"worst": "Worst pictures", "best": "Best pictures", "typical": "Typical pictures"}
    chosen = {"worst": "with the worst", "best": "with the best", "typical": "about the median"}
    about = (
        f"The {len(cases.names)} test pictures {chosen[which]} {metric.label}, the mean of all "
        "configurations. Each configuration's first seed with its chosen checkpoint; the score "
        "stands below each picture."
    )
    return html_report.Picture(title[which], about, grids.to_png(grids.labelled(rows, captions)))


def _add_figures(
    bundle: Bundle,
    comparison: Comparison,
    runs: Sequence[Run],
    curves: charts.Curves,
    steady: dict[int, RunStability],
) -> None:
    shown = [
        name
        for name in COMPARED_FIGURES
        if any(row.cells[name].value is not None for row in comparison.rows)
    ]
    for name in shown:
        parts = {f"metric-{name}": charts.metric_bars(comparison, name)}
        about = CATALOG[name].about
        if any(it.metric == name for it in comparison.contrasts):
            parts[f"differences-{name}"] = charts.contrast_bars(comparison, name)
        bundle.figures.append(html_report.Figure(CATALOG[name].label, about, parts))
    if curves:
        drawn = charts.training_curves(runs, curves, CURVE_FIGURES)
        bundle.figures.append(
            html_report.Figure("Training curves", ABOUT_CURVES, {"training-curves": drawn})
        )
    if any(it.curves for it in steady.values()):
        drawn = charts.stability_panels(runs, steady, "l1")
        bundle.figures.append(
            html_report.Figure(
                "Stability", f"Of the L1 term. {ABOUT_STABILITY}", {"stability": drawn}
            )
        )


def _add_pictures(bundle: Bundle, store: Store, settings: Settings, study: Study) -> None:
    kinds: tuple[Which, ...] = ("typical", "worst", "best")
    for which in kinds:
        try:
            cases = load_cases(store, settings, study, "psnr", which, N_CASES)
        except EngineError as error:
            bundle.remarks.append(str(error))
            return
        if cases is not None:
            bundle.pictures[f"{which}-cases"] = case_picture(cases, which)
