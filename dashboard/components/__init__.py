"""Widgets and sections of pages.

Modules:
    js_component: declares a component with its own JavaScript and CSS.
    pickers: choices of studies, runs and options that are part of the URL.
    empty_states: messages for pages without content.
    escape: escapes user text for Markdown.
    comparison_sections: sections of the Compare page.
    colorize_sections: sections of the Colorize page.

Packages:
    live_chart: curves that keep their zoom.
    gallery: pictures of several runs side by side.
    swipe: two pictures with a movable edge.
    runs: cards and sections of studies and runs.
    launch: the form of a new study.
    sources: the form and the sections of a data source.

Not here: database reads (`dashboard.queries`) and writes (`dashboard.actions`).
"""
