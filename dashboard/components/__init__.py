"""Widgets and sections that pages are made of.

Modules:
    js_component: declares a component with its own JavaScript and CSS.
    pickers: pickers of studies and runs.
    empty_states: messages shown when there is nothing to show.
    escape: shows user text literally.
    comparison_sections: sections of the Compare page.
    comparison_table: the comparison table.
    colorize_sections: sections of the Colorize page.

Packages:
    live_chart: curves that keep their zoom.
    gallery: images of all epochs.
    swipe: two images with a movable edge.
    runs: cards and sections of studies and runs.
    launch: the form of a new study.
    sources: the form and the sections of a data source.

Not here: database reads (`dashboard.queries`) and writes (`dashboard.actions`).
"""
