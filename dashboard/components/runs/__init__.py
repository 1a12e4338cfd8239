"""Cards, menus and sections of studies and runs.

Modules:
    status: states, progress and times as badges and texts.
    run_cards: cards of runs.
    study_card: the card of a study.
    study_filters: the search and the filters of the Overview page.
    run_sections: sections of the Run page.
    run_log: the last lines of a run's log.
    action_menu: menus of actions, with confirmations.
    annotations: forms for names, notes and tags.

Not here: the live chart and the gallery, which have packages of their own.
"""
