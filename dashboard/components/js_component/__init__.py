"""Components with their own JavaScript: how they are loaded and how they request data.

`loader.js` loads the script of a component, and `requests.js` is imported by these scripts.

Modules:
    component: declares a component.

Not here: the components (`live_chart`, `gallery`, `swipe`) and the routes (`dashboard.routes`).
"""
