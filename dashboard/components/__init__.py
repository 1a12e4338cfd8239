"""Widgets and sections of pages.

Modules:
    pickers: choices of studies, runs and options that are part of the URL.
    empty_states: messages for pages without content.
    queue_banner: the banner of all pages while queued jobs cannot run.
    configuration_label: names of configurations with a dot in their colour.
    escape: escapes user text for Markdown.
    comparison_sections: sections of the Compare page.
    exports: the lines of the Compare page about exports to MLflow.
    missing_metrics: the line of the Compare page about metrics that were not computed.
    colorize_sections: sections of the Colorize page.

Packages:
    js_component: loads components that have their own JavaScript and CSS.
    live_chart: curves that keep their zoom.
    gallery: pictures of several runs side by side.
    swipe: two pictures with a movable edge.
    runs: cards and sections of studies and runs.
    launch: the form of a new study.
    sources: the form and the sections of a data source.

Not here: database reads (`dashboard.queries`) and writes (`dashboard.actions`).
"""
