"""Exports a study: CSV files, results.json, figures, images and the report page. Torch-free.

Modules:
    bundle: collects all files of an export.
    csv_files: the CSV files and results.json.
    png: draws figures as PNG.
    writer: writes the folder or the zip file.

Not here: the computation of the numbers (`report`).
"""
