"""One script per page; the code has the order of the page from top to bottom.

Modules:
    overview: all studies.
    data: a data source.
    launch: a new study.
    live: curves of running runs.
    run: one run.
    gallery: pictures of all runs.
    compare: the comparison table.
    colorize: trained models on the user's own pictures.

Not here: database access (`dashboard.queries`) and figure building (`engine.report`).
"""
