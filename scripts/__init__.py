"""Tools for development: the lock, benchmarks, screenshots, parts of the documentation site.

Modules:
    lock: selects locked packages for pip, and renews `requirements.lock`.
    audit: looks up known vulnerabilities of the locked packages.
    new_migration: writes a revision of the database's tables.
    bench_dashboard: page times with 200 runs.
    bench_startup: time from Start to the first loss on the screen.
    bench_serving: throughput and latency of the model server.
    screenshots: takes screenshots of every page for the documentation.
    drawings: draws test pictures of a study side by side, for the README.
    reference: the tables of the documentation site, built from the code.
    mkdocs_hooks: hooks of the documentation site.
    browser: runs the dashboard and Chromium for the other scripts.
    crowded_store: a database of 200 runs.

Not here: benchmarks of the engine (`python -m engine bench`).
"""
