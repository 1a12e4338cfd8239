"""Collects all files of the export of a study, before they are written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.errors import EngineError
from engine.images import grids
from engine.metrics.catalog import CATALOG, CURVE_METRICS, FIGURE_METRICS
from engine.options.loss_terms import LOSS_TERMS
from engine.records.comparison import Comparison, RunStability
from engine.records.runs import Run, Study
from engine.report import charts, html_report, stability, tables
from engine.report.cases import CaseKind, Cases, load_cases
from engine.report.comparison import compare
from engine.report.export import csv_files
from engine.report.findings import build_findings
from engine.settings import Settings, read_version
from engine.store import Store

CURVE_PARTS = 120
N_CASES = 8
# The drawn training curves, in the order of the panels.
_FIRST_CURVES = ("l1", "adversarial", "d_loss")
CURVE_FIGURES = (
    *_FIRST_CURVES,
    *(name for name in LOSS_TERMS if name not in _FIRST_CURVES),
    *("val_psnr", "d_train_accuracy", "g_loss", "val_g_loss"),
)

CURVES_CAPTION = (
    "One panel per loss term. Recipes differ, so the terms compare, but not their weighted sums. "
    "Lines are means over seeds, bands the range over seeds."
)
STABILITY_CAPTION = (
    "The sketch study's nine statistics of a loss, averaged over up to 60 equal parts of a run: a "
    "dot per seed, a line at the mean. A term has the same meaning in every recipe; the generator "
    "loss does not."
)
METRICS_CAPTION = (
    "Left: values. Right: differences between configurations. Both with 95 % intervals. Filled "
    "points are clear differences after Holm's correction for all pairs of a metric."
)

CASE_TITLES: dict[CaseKind, str] = {
    "worst": "Worst pictures",
    "best": "Best pictures",
    "typical": "Typical pictures",
}
CASE_CHOICES: dict[CaseKind, str] = {
    "worst": "with the worst",
    "best": "with the best",
    "typical": "around the median of",
}

Progress = Callable[[str], None]


@dataclass
class Bundle:
    """All files of an export, before they are written.

    Attributes:
        texts: file name -> content.
        images: name -> image of the report, also written as `figures/NAME.png`.
        figures: the interactive figures of the report, also written as `figures/NAME.html`.
        remarks: sentences about files that could not be built.
    """

    texts: dict[str, str] = field(default_factory=dict)
    images: dict[str, html_report.ReportImage] = field(default_factory=dict)
    figures: list[html_report.FigureGroup] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def build_bundle(
    store: Store, settings: Settings, study_id: int, on_progress: Progress = lambda doing: None
) -> Bundle:
    """Builds all files of the export of a study.

    Args:
        store: the store with the study.
        settings: the locations of the study's images.
        study_id: the study.
        on_progress: called with a description of each part before the part is built.
    """
    on_progress("reading the study")
    study, runs = store.studies.read(study_id), store.runs.read_all(study_id)
    ids = [run.id for run in runs]
    comparison = compare(store, study_id)
    findings = build_findings(comparison)
    stability_by_run = read_stability(store, runs)
    bundle = Bundle()

    bundle.texts["summary.csv"] = tables.to_csv(comparison)
    bundle.texts["evaluations.csv"] = csv_files.evaluations_csv(store, runs)
    bundle.texts["training_log.csv"] = csv_files.training_csv(store, runs)
    bundle.texts["stability.csv"] = csv_files.stability_csv(runs, stability_by_run)
    bundle.texts["image_scores.csv"] = csv_files.scores_csv(store, runs)
    bundle.texts["results.json"] = csv_files.results_json(study, runs, comparison, findings)

    on_progress("drawing figures")
    curves = store.curves.read_thinned(ids, CURVE_METRICS, CURVE_PARTS)
    _add_figures(bundle, comparison, runs, curves, stability_by_run)
    on_progress("drawing pictures")
    _add_images(bundle, store, settings, study)
    environment = next((run.environment for run in runs if run.environment), None) or {}
    bundle.texts["report.html"] = html_report.build_report(
        comparison,
        findings,
        runs,
        bundle.figures,
        list(bundle.images.values()),
        {"chromabench": read_version(), **environment},
    )
    return bundle


def read_stability(store: Store, runs: Sequence[Run]) -> dict[int, RunStability]:
    """Returns run id -> stability statistics; runs without a generator loss are left out."""
    ids = [run.id for run in runs]
    values_by_run: dict[int, dict[str, list[float]]] = {}
    curves = store.curves.read_thinned(ids, CURVE_METRICS, stability.MAX_PARTS)
    for (run_id, name), curve in curves.items():
        values_by_run.setdefault(run_id, {})[name] = [value for _, value in curve]
    won = store.curves.read_step_shares(ids, stability.WON_ABOVE, stability.WON_BELOW)
    return {
        run_id: stability.measure(values_by_run[run_id], won.get(run_id))
        for run_id in ids
        if "g_loss" in values_by_run.get(run_id, {})
    }


def case_image(cases: Cases, kind: CaseKind) -> html_report.ReportImage:
    """Draws rows of sources, targets and, per configuration, fakes with their scores."""
    metric = CATALOG[cases.metric]
    rows = {cases.source_label: cases.source, "target": cases.target, **cases.fakes}
    labels = {
        name: [f"{metric.format(score)} {metric.unit}".strip() for score in scores]
        for name, scores in cases.scores.items()
    }
    caption = (
        f"The {len(cases.names)} test pictures {CASE_CHOICES[kind]} {metric.label}, by the mean of "
        "all configurations. The fakes are from the first seed of each configuration, with its "
        "chosen checkpoint; the score is below each fake."
    )
    png = grids.encode_png(grids.tile_with_labels(rows, labels))
    return html_report.ReportImage(CASE_TITLES[kind], caption, png)


def _add_figures(
    bundle: Bundle,
    comparison: Comparison,
    runs: Sequence[Run],
    curves: charts.Curves,
    stability_by_run: Mapping[int, RunStability],
) -> None:
    for name in FIGURE_METRICS:
        if all(row.cells[name].value is None for row in comparison.rows):
            continue
        figures = {f"metric-{name}": charts.metric_chart(comparison, name)}
        if any(contrast.metric == name for contrast in comparison.contrasts):
            figures[f"differences-{name}"] = charts.difference_chart(comparison, name)
        metric = CATALOG[name]
        bundle.figures.append(html_report.FigureGroup(metric.label, metric.description, figures))
    if curves:
        figure = charts.training_curves(runs, curves, CURVE_FIGURES)
        bundle.figures.append(
            html_report.FigureGroup(
                "Training curves",
                with_missing_lines(CURVES_CAPTION, runs),
                {"training-curves": figure},
            )
        )
    if any(each.curves for each in stability_by_run.values()):
        figure = charts.stability_panels(runs, stability_by_run, "l1")
        caption = with_missing_lines(f"Of the L1 term. {STABILITY_CAPTION}", runs)
        bundle.figures.append(html_report.FigureGroup("Stability", caption, {"stability": figure}))


def with_missing_lines(caption: str, runs: Sequence[Run]) -> str:
    """Adds to a caption which configurations have no discriminator."""
    return " ".join(filter(None, (caption, charts.explain_missing_lines(runs, "d_loss"))))


def _add_images(bundle: Bundle, store: Store, settings: Settings, study: Study) -> None:
    kinds: tuple[CaseKind, ...] = ("typical", "worst", "best")
    for kind in kinds:
        try:
            cases = load_cases(store, settings, study, "psnr", kind, N_CASES)
        except EngineError as error:
            bundle.remarks.append(str(error))
            return
        if cases is not None:
            bundle.images[f"{kind}-cases"] = case_image(cases, kind)
