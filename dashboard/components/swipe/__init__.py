"""Two pictures with a movable edge: `swipe.py`, its JavaScript and its CSS.

Modules:
    swipe: declares the component.

Not here: image files (`dashboard.queries`).
"""
