"""The revisions of the schema, one file each, executed by Alembic in the order of their numbers.

Modules:
    0005_baseline: the schema of release 0.9.0.
    0006_add_exports_to_mlflow: requests of exports to MLflow, and what was uploaded.

A revision that was released is never changed.

Not here: the execution of revisions (`engine.store.migrations.upgrade`).
"""
