"""Scans a source once and stores what was found.

Modules:
    survey: runs and stores a scan.
    scan: reads all pairs of a source on all cores.
    measurements: measurements of one pair.
    duplicates: exact and near duplicates.
    checks: faults of single files and of the set.
    statistics: sizes, values, colours and lines of a source, split by split.
    summary: reads a stored survey for display.
    exclusions: the list of excluded files.

Not here: jobs and progress (`workers.survey`). Torch-free.
"""
