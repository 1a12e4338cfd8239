"""The dashboard: a Streamlit app. It never loads torch; heavy work runs in jobs.

Modules:
    app: navigation and page setup.
    server: the ASGI application: pages and routes.
    routes: HTTP routes from which components fetch data.
    actions: everything that writes to the store or starts processes.

Packages:
    queries: everything that reads the store.
    components: widgets and sections of pages.
    app_pages: one script per page.

Not here: metrics, comparisons and figures (`engine`).
"""
