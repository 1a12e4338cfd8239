"""Commands close the database that they open."""

import gc
import os
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.jobs import spawn
from engine.report.export import png
from engine.store import database_path
from tests.support.comparisons import add_study_without_inception
from tests.support.runs import NOW, tiny_config
from tests.support.weights import install_weights


@pytest.fixture
def database(settings, store, monkeypatch, tmp_path):
    """The file of a database with an evaluated study, on a machine with Inception's weights."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    monkeypatch.setattr(png, "find_browser", lambda: None)
    install_weights("inception", {}, settings, monkeypatch)
    add_study_without_inception(store)
    store.studies.add("key", "queued", [tiny_config()], NOW)
    store.close()
    return database_path(settings.database_url)


@pytest.fixture
def no_collection():
    """Stops the garbage collector, which could close a forgotten connection before it is seen."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def connections(database):
    """Returns the open files of this process that belong to a database."""
    targets = [os.path.realpath(descriptor) for descriptor in Path("/proc/self/fd").iterdir()]
    return [target for target in targets if target.startswith(str(database))]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("study --data openmoji --budget smoke", 0),
        ("study --extend 2 --seeds 2", 0),
        ("clone 2", 0),
        ("runs", 0),
        ("runs --json", 0),
        ("runs --study 9", 2),
        ("table 1", 0),
        ("evaluate --study 1", 0),
        ("evaluate 9", 2),
        ("export 1 --out OUT", 0),
        ("export-model 9", 2),
        ("cancel --study 1", 0),
        ("resume 9", 2),
        ("retry --study 1", 2),
        ("front --study 2", 0),
        ("archive --study 1", 0),
        ("delete 9", 2),
        ("backup OUT", 0),
        ("restore OUT", 2),
        ("disk", 0),
        ("prune --dry-run", 0),
        ("doctor", 0),
    ],
)
def test_no_connection_is_open_after_a_command(
    database, no_collection, capsys, tmp_path, arguments, status
):
    words = [str(tmp_path / "out") if word == "OUT" else word for word in arguments.split()]

    assert main(words) == status, capsys.readouterr().err

    assert connections(database) == []
