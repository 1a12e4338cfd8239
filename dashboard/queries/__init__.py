"""Queries that read the store, with caches.

Modules:
    access: the database and the settings that queries and actions share.
    studies: studies, runs and comparisons.
    exports: exports to MLflow that are not finished or have failed.
    missing_metrics: metrics that a study lacks because weights were missing.
    curves: curve points, alerts and progress for live views.
    gallery_images: samples and evaluated pictures for the Gallery page.
    sources: data sources and their scans.
    launch: estimates and prefilled values for the Launch page.
    colorize: trained models, the model server and its results.

Not here: writes (`dashboard.actions`).
"""
