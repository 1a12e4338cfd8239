"""Runs every test of the store's contract on SQLite and on PostgreSQL."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.store import Store

DATABASES = itertools.count()


@pytest.fixture(scope="session")
def postgresql():
    """Starts a PostgreSQL server on a socket in a temporary folder; skips if none is installed."""
    binary = shutil.which("postgres") or next(
        iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)), None
    )
    if binary is None:
        if os.environ.get("CHROMABENCH_REQUIRE_POSTGRESQL"):
            pytest.fail("PostgreSQL is required here and not installed")
        pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`")
    binaries = Path(binary).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    data = folder / "data"
    initialise = [binaries / "initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync"]
    subprocess.run(initialise, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
    command = [
        *(binaries / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="),
        *("-c", "fsync=off", "-c", "max_connections=200"),
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **user)
    try:
        ready = [binaries / "pg_isready", "-h", folder, "-q", "-t", "30"]
        for _ in range(100):
            if subprocess.run(ready, check=False).returncode == 0:
                break
        yield f"postgresql+psycopg://tester@/{{}}?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: closes open connections
        server.wait(timeout=30)
        shutil.rmtree(folder)


@pytest.fixture
def postgresql_url(postgresql):
    """Creates an empty database for each test."""
    name = f"t{next(DATABASES)}"
    engine = sa.create_engine(postgresql.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgresql.format(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request, settings):
    if request.param == "sqlite":
        return settings
    return replace(settings, database_url=request.getfixturevalue("postgresql_url"))


@pytest.fixture
def store(settings):
    opened = Store(settings.database_url)
    yield opened
    opened.close()
