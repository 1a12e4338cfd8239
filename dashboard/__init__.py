"""The dashboard, a Streamlit app that never loads torch: jobs and the model server do heavy work.

Modules:
    app: the ASGI application with pages and routes, and the script with the navigation.
    startup: checks before the server starts.
    routes: HTTP routes from which components fetch data.
    actions: functions that write to the store or start processes.

Packages:
    queries: functions that read the store.
    components: widgets and sections of pages.
    app_pages: one script per page.

Not here: metrics, comparisons and figures (`engine`).
"""
