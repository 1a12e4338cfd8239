"""The gallery: `gallery.py`, its JavaScript and its CSS.

Modules:
    gallery: declares the component.

Not here: image files (`dashboard.queries`).
"""
