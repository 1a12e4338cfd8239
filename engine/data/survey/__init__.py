"""Scans a source once and stores the results.

Modules:
    survey: runs and stores a scan.
    scan: reads all pairs of a source on all cores.
    measurements: measures each pair.
    duplicates: finds exact and near duplicates.
    checks: finds faults in the measurements of all pairs.
    statistics: computes sizes, pixel values, colours and lines of each split.
    summary: loads the stored statistics and renders the example pairs.

Not here: jobs and progress (`workers.survey`). No module here imports torch.
"""
