"""One script per page, which reads from top to bottom like the page.

Modules:
    overview: all studies.
    data: a data source.
    launch: a new study.
    live: curves of running runs.
    run: one run.
    gallery: pictures of all runs.
    compare: the comparison table.
    colorize: trained models on the user's own pictures.

Not here: database access and figure building.
"""
