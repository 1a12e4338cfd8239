"""A study -> a folder to take away: every number as CSV and JSON, figures, pictures, a report page.

`bundle` makes everything, `sheets` the CSV files and results.json, `figures` draws PNGs, `folder`
writes it all or nothing. Torch-free.
"""
