"""One script per page; each reads like the page.

Modules:
    overview: studies and running runs.
    data: a data source.
    launch: a new study.
    live: curves of running runs.
    run: one run.
    gallery: images of all runs.
    compare: the comparison table.
    colorize: the best model on one's own images.

Not here: database access and figure building.
"""
