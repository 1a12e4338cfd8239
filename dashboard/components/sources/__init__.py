"""A data source: its form and its sections.

Modules:
    source_form: the choice of a source.
    source_sections: sections of the Data page.

Not here: the scan itself (`engine.data.survey`).
"""
