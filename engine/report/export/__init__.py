"""Writes a study to a folder: CSV, JSON, figures, images, a report page. Torch-free.

Modules:
    bundle: collects everything that belongs to an export.
    csv_files: the CSV files and results.json.
    png: draws figures as PNG.
    writer: writes the folder atomically.

Not here: the numbers themselves (`report`).
"""
