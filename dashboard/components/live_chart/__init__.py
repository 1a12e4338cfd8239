"""The live chart: `live_chart.py`, its JavaScript and its CSS.

Modules:
    live_chart: declares the component.
    view_controls: the controls of the Live page's chart.

Not here: curve points (`dashboard.queries`).
"""
