"""The form of a new study.

Modules:
    launch_form: budget and single values.
    configurations_form: terms, weights and rates.
    plan_summary: what a study will run and cost.
    extend_form: adds seeds, configurations or epochs to a study.

Not here: the choice of a data source (`dashboard.components.sources`).
"""
