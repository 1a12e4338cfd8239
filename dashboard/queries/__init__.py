"""Cached reads of the store for pages. Beside `actions`, only this package uses the store.

Modules:
    studies: studies, runs, comparisons.
    curves: curve points for the live chart.
    gallery_images: samples and predictions for the gallery.
    sources: surveys of data sources.
    launch: estimates and prefilled values for the Launch page.
    colorize: the model server and its answers.

Not here: writes (`dashboard.actions`).
"""
