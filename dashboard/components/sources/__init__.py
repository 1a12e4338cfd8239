"""The form of a data source and the sections of the Data page.

Modules:
    source_form: the choice of a source.
    source_sections: sections of the Data page.

Not here: the scan itself (`engine.data.survey`).
"""
