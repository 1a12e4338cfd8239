"""From a study to numbers, sentences, figures and files. Torch-free.

Modules:
    comparison: the comparison table of a study.
    significance: pairwise tests and ranks.
    findings: the comparison in sentences.
    stability: statistics of loss curves.
    alerts: warnings about loss curves.
    tables: the comparison as CSV, Markdown, JSON and HTML.
    html_report: the report page of a study.
    charts: figures of curves and metrics.
    data_charts: figures of a source.
    sparkline: a curve as a small SVG.
    theme: colours of configurations.
    cases: best and worst images by a metric.
    gallery: all test images of a study, sorted by a metric.

Packages:
    export: a study as a folder.

Not here: pages (`dashboard`).
"""
