"""Turns a study into numbers, sentences, figures and files. Torch-free.

Modules:
    comparison: builds the comparison table of a study.
    significance: pairwise tests and ranks.
    findings: sentences about the comparison.
    stability: statistics of loss curves.
    alerts: warnings about loss curves.
    tables: the comparison as CSV, Markdown and HTML.
    html_report: the report page of a study.
    rendering: renders the Jinja templates of HTML pages and pictures.
    charts: figures of curves and metrics.
    data_charts: figures of a source.
    sparkline: curves as a small SVG.
    theme: colours of configurations, layout of figures.
    cases: best, worst and typical images by a metric.
    gallery: all test images of a study by a metric, and animations of samples.

Packages:
    export: a study as a folder or a zip file.

Not here: the records of the comparison (`records.comparison`) and pages (`dashboard`).
"""
