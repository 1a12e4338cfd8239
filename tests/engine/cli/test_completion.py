"""Shell completion, in this process and in real shells."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.store import database_path
from tests.support.old_databases import make_old_database
from tests.support.runs import NOW, tiny_config
from tests.support.terminals import running_shell

COMPLETIONS = {
    "chromabench stud": "chromabench study ",
    "chromabench data des": "chromabench data describe ",
    "chromabench study --bud": "chromabench study --budget ",
    "chromabench study --budget sm": "chromabench study --budget smoke ",
    "chromabench study --configurations a,p": "chromabench study --configurations a,perceptual ",
    "chromabench evaluate --split v": "chromabench evaluate --split val ",
    "chromabench table ": "chromabench table 1 ",
}


@pytest.fixture
def variables(settings, monkeypatch):
    """The settings of commands, as environment variables."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    return settings


@pytest.fixture
def offer(variables, monkeypatch, capsys):
    """Returns the words that complete the last of several words."""

    def offer(words):
        monkeypatch.setenv("_CHROMABENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        assert main([]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out.split()

    return offer


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("chromabench data ", ["list", "check", "describe", "prepare", "fetch"]),
        ("chromabench study --budget ", ["smoke", "demo", "study1", "study2", "paper"]),
        ("chromabench bench train --device c", ["cuda", "cpu"]),
        ("chromabench completion ", ["bash", "zsh", "fish"]),
        ("chromabench export-model --format t", ["torchscript"]),
        ("chromabench prune --parts data,", ["data,leftovers", "data,checkpoints", "data,samples"]),
        ("chromabench weights fetch a", ["all"]),
    ],
)
def test_commands_options_and_closed_sets_are_offered(offer, words, offered):
    assert offer(words)[: len(offered)] == offered


def test_numbers_of_studies_and_runs_are_offered_newest_first(offer, store):
    store.studies.add("1", "first", [tiny_config(), tiny_config("gan")], NOW)
    store.studies.add("2", "second", [tiny_config()], NOW)

    assert offer("chromabench table ") == ["2", "1"]
    assert offer("chromabench cancel ") == ["3", "2", "1"]
    assert offer("chromabench runs --study 1") == ["1"]


@pytest.mark.parametrize("database", ["garbage", "sqlite:////nowhere/runs.db", "file"])
def test_without_a_readable_database_no_number_is_offered(offer, monkeypatch, tmp_path, database):
    file = tmp_path / "text"
    file.write_text("This is no database. " * 100)
    url = f"sqlite:///{file}" if database == "file" else database
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", url)

    assert offer("chromabench table ") == []


def test_a_completion_does_not_upgrade_a_database(offer, variables):
    make_old_database(variables.database_url)
    path = database_path(variables.database_url)
    content = path.read_bytes()

    assert offer("chromabench table ") == []

    assert path.read_bytes() == content
    assert not list(path.parent.glob("*.bak"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_a_script_for_the_console_script(capsys, shell):
    assert main(["completion", shell]) == 0

    script = capsys.readouterr().out
    assert f"_CHROMABENCH_COMPLETE=complete_{shell}" in script


@pytest.fixture(params=["bash", "zsh"])
def terminal(request, variables, store):
    """A shell with the completion; the database has one study, whose name is an attack."""
    path = shutil.which(request.param)
    if path is None:
        if os.environ.get("CHROMABENCH_REQUIRE_SHELLS"):
            pytest.fail(f"{request.param} is required here and not installed")
        pytest.skip(f"{request.param} is not installed: `apt-get install {request.param}`")
    evidence = variables.artifacts.parent / "executed"
    name = rf"\$(touch {evidence}) \`touch {evidence}\`"
    store.studies.add("key", name, [tiny_config()], NOW)
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(variables.artifacts.parent),
        "TERM": "vt100",
    }
    with running_shell(path, request.param, environment) as terminal:
        yield terminal


@pytest.mark.slow
def test_a_shell_completes_words_and_executes_no_text_of_the_database(terminal, settings):
    completed = {text: terminal.complete(text) for text in COMPLETIONS}

    assert completed == COMPLETIONS
    assert not (settings.artifacts.parent / "executed").exists()
