"""Chromabench's pages, built with Streamlit. Torch-free; heavy work is a job elsewhere.

Modules:
    app: navigation and page setup.
    server: the ASGI application: pages and routes.
    routes: HTTP routes that components fetch data from.
    actions: everything that changes the database.

Packages:
    queries: everything that reads the database.
    components: widgets and sections of pages.
    app_pages: one script per page.

Not here: metrics, comparisons and figures (`engine`).
"""
