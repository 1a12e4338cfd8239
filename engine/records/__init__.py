"""Frozen records that the store takes and returns. Records hold data and access no database.

Modules:
    runs: studies, runs, jobs, attempts, checkpoints, evaluations.
    curves: metric points, summaries, alerts.
    exports: exports to MLflow, and the uploaded parts of runs.
    comparison: the comparison table of a study.

Not here: SQL (`store`) and the computation of a comparison (`report`).
"""
