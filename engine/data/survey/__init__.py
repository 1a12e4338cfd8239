"""Scans a source once and stores the results.

Modules:
    survey: runs and stores a scan.
    scan: reads all pairs of a source on all cores.
    measurements: measurements of each pair.
    duplicates: exact and near duplicates.
    checks: faults of pairs as members of a set.
    statistics: sizes, values, colours and lines of a source, split by split.
    summary: loads the stored statistics and renders the example pairs.

Not here: jobs and progress (`workers.survey`). Torch-free.
"""
