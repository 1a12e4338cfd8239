"""Cards, menus and sections of studies and runs.

Modules:
    status: states and durations as text and badges.
    run_cards: cards of runs.
    study_card: the card of a study.
    run_sections: sections of the Run page.
    action_menu: menus of actions, with confirmations.
    annotations: names, notes and tags.

Not here: the live chart and the gallery, which have packages of their own.
"""
