"""The live chart: `live_chart.py`, its JavaScript and its CSS.

Modules:
    live_chart: declares the component.

Not here: curve points (`dashboard.queries`).
"""
