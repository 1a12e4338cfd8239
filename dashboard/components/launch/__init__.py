"""The form of a new study.

Modules:
    launch_form: fields that change the budget, and validation errors.
    configurations_form: the choice and the values of configurations.
    prefill: fills the form from an existing study or run.
    plan_summary: runs, time, memory and disk space of the study.
    weights_section: offers to download weights that the study would use, and shows the progress.
    extend_form: the form that adds seeds, configurations or epochs to an existing study.

Not here: the choice of the data (`components.sources`).
"""
