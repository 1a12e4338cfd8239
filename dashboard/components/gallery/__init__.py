"""The gallery: `gallery.py`, its JavaScript and its CSS.

Modules:
    gallery: declares the component.
    contents: chooses the pictures of the Gallery page.

Not here: image files (`dashboard.queries`).
"""
