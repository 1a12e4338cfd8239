"""The environment variables and the `.env` file: precedence, refusals and unknown names."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine import settings as settings_module
from engine.cli.main import main
from engine.environment import FILE_VARIABLE, find_ignored_variables, variables_by_name
from engine.errors import BadInputError
from engine.settings import Settings
from engine.store import check_address
from engine.system.child_environment import build_child_environment

TOKEN = "0123456789abcdef"
ADDRESSES = st.none() | st.just("https://example.org/a?b=%20c")
FOLDERS = st.lists(st.sampled_from([Path("/a"), Path("/b c")]), max_size=2)
ALL_SETTINGS = st.builds(
    Settings,
    st.sampled_from(["sqlite:////a b/runs.db", "postgresql://me:se%40cret@host/name"]),
    st.just(Path("/a b")),
    slots=st.none() | st.integers(1, 9999),
    data_roots=st.none() | FOLDERS.map(tuple),
    webhook=ADDRESSES,
    ranks=st.integers(1, 9999),
    is_supervised_elsewhere=st.booleans(),
    launcher=st.sampled_from(["local", "ray"]),
    ray_gpus=st.integers(0, 999),
    mlflow=ADDRESSES,
    mlflow_username=st.none() | st.just("me"),
    mlflow_password=st.none() | st.just("se@cret"),
    server_url=ADDRESSES,
    server_token=st.none() | st.just(TOKEN),
    fetch=st.sampled_from(["auto", "ask", "never"]),
    weights_url=ADDRESSES,
)


@pytest.fixture
def write_file(tmp_path):
    """A function that writes an `.env` file and returns an environment that names the file."""

    def write(content):
        file = tmp_path / "settings.env"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return {FILE_VARIABLE: str(file)}

    return write


@pytest.fixture
def own_variables(tmp_path, monkeypatch):
    """Only the variables of an empty installation in this process."""
    for name in variables_by_name():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", f"sqlite:///{tmp_path}/runs.db")
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv(FILE_VARIABLE, os.devnull)


@pytest.mark.parametrize("name", variables_by_name())
def test_an_empty_variable_counts_as_not_set(name, write_file):
    assert Settings.from_environment({name: ""}) == Settings.from_environment({})
    assert Settings.from_environment(write_file(f"{name}=\n")) == Settings.from_environment({})


@hypothesis_settings(deadline=None)
@given(ALL_SETTINGS)
def test_settings_equal_those_that_are_built_from_their_own_variables(settings):
    assert Settings.from_environment(settings.as_environment()) == settings


def test_the_environment_takes_precedence_over_the_file_unless_a_variable_is_empty(write_file):
    environment = write_file("CHROMABENCH_SLOTS=2\nexport CHROMABENCH_RANKS='3'  # a comment\n")

    settings = Settings.from_environment(
        {**environment, "CHROMABENCH_SLOTS": "5", "CHROMABENCH_RANKS": ""}
    )

    assert (settings.slots, settings.ranks) == (5, 3)


def test_the_file_is_read_from_the_data_folder_and_not_from_the_current_folder(
    tmp_path, monkeypatch, own_variables
):
    monkeypatch.setattr(settings_module, "IS_CHECKOUT", False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.delenv(FILE_VARIABLE)
    data_folder = settings_module.default_data_folder()
    data_folder.mkdir(parents=True)
    (data_folder / ".env").write_text("CHROMABENCH_SLOTS=7\n")
    current_folder = tmp_path / "other"
    current_folder.mkdir()
    (current_folder / ".env").write_text("CHROMABENCH_SLOTS=9\n")
    monkeypatch.chdir(current_folder)

    assert Settings.from_environment().slots == 7
    assert Settings.from_environment({}).slots is None


def test_a_folder_named_env_is_not_a_file_with_variables(tmp_path, monkeypatch, own_variables):
    monkeypatch.setattr(settings_module, "IS_CHECKOUT", False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.delenv(FILE_VARIABLE)
    (settings_module.default_data_folder() / ".env").mkdir(parents=True)

    assert Settings.from_environment().slots is None


@pytest.mark.parametrize(
    "line", ["CHROMABENCH_SLOTS 3", "CHROMABENCH_SLOTS", 'A="secret', "= secret", "a secret=3"]
)
def test_a_broken_line_is_refused_with_its_number_and_without_its_content(write_file, line):
    environment = write_file(f"# a comment\n\nCHROMABENCH_RANKS=1\n\n{line}\n")

    with pytest.raises(BadInputError) as refusal:
        Settings.from_environment(environment)

    message = str(refusal.value)
    assert message.startswith(f"Line 5 of {environment[FILE_VARIABLE]} cannot be read: write NAME=")
    assert "secret" not in message


def test_a_file_that_is_no_text_is_refused(write_file):
    with pytest.raises(BadInputError, match=r"cannot be read .* text file in UTF-8"):
        Settings.from_environment(write_file(b"CHROMABENCH_SLOTS=\xff\n"))


def test_a_named_file_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"CHROMABENCH_ENV_FILE must be a file, not '/.*/a'"):
        Settings.from_environment({FILE_VARIABLE: f"{tmp_path}/a"})


def test_an_invalid_value_in_the_file_is_refused_with_the_name_of_the_file(write_file):
    environment = write_file("CHROMABENCH_SLOTS=many\n")

    with pytest.raises(BadInputError) as refusal:
        Settings.from_environment(environment)

    assert str(refusal.value) == (
        f"CHROMABENCH_SLOTS in {environment[FILE_VARIABLE]} must be a whole number from 1 to 9999, "
        "not 'many'."
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHROMABENCH_SERVER_TOKEN", "secret"),
        ("CHROMABENCH_WEBHOOK", "hooks.example/secret"),
        ("CHROMABENCH_SERVER_URL", "ftp://me:secret@example.org"),
        ("CHROMABENCH_ARTIFACTS", "~nosuchuser:secret@x/y"),
        ("MLFLOW_TRACKING_URI", "https://me:secret\u2100@host"),
    ],
)
def test_no_refusal_shows_a_secret(name, value):
    with pytest.raises(BadInputError) as refusal:
        Settings.from_environment({name: value})

    assert str(refusal.value).startswith(f"{name} must be ")
    assert "secret" not in f"{refusal.value} {refusal.value.__cause__}"


@pytest.mark.parametrize("url", ["postgresql//me:secret@host", "postgresql://me:secret@host:x/a"])
def test_the_refusal_of_a_database_address_shows_no_password(url):
    with pytest.raises(BadInputError, match=r"is not a database address: '\.\.\.@host") as refusal:
        check_address(url)

    assert "secret" not in str(refusal.value)


def test_settings_are_printed_without_token_and_password():
    environment = {
        "CHROMABENCH_SERVER_TOKEN": TOKEN,
        "MLFLOW_TRACKING_URI": "https://me:secret@mlflow.example",
    }

    settings = Settings.from_environment(environment)

    assert (settings.mlflow, settings.mlflow_password) == ("https://mlflow.example", "secret")
    assert TOKEN not in repr(settings)
    assert "secret" not in repr(settings)


def test_a_child_process_in_another_folder_has_the_settings_of_its_parent(
    tmp_path, write_file, monkeypatch, own_variables
):
    file = write_file(f"CHROMABENCH_WEBHOOK=https://example.org\nCHROMABENCH_SERVER_TOKEN={TOKEN}")
    monkeypatch.setenv(FILE_VARIABLE, Path(file[FILE_VARIABLE]).name)
    monkeypatch.chdir(tmp_path)
    settings = replace(Settings.from_environment(), slots=3)
    monkeypatch.setenv("CHROMABENCH_SERVER_URL", "https://not.in.the.settings")
    monkeypatch.setenv("CHROMABENCH_SLOT", "4")
    script = "import json, os; from engine.settings import Settings, ignored_variables; print(json"
    script += ".dumps([Settings.from_environment().as_environment(), ignored_variables()]))"

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd="/",
        env=build_child_environment(settings),
        capture_output=True,
        check=True,
    )

    assert settings.webhook == "https://example.org"
    assert json.loads(done.stdout) == [settings.as_environment(), []]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("CHROMABENCH_SLOT", "did you mean CHROMABENCH_SLOTS?"),
        ("chromabench_slots", "did you mean CHROMABENCH_SLOTS?"),
        ("CHROMABENCH_DATABASE", "did you mean CHROMABENCH_DATABASE_URL?"),
        ("CHROMABENCH_XYZZY", "remove it."),
    ],
)
def test_an_unknown_variable_is_named_with_the_similar_one(write_file, name, suggestion):
    file = write_file(f"COMPOSE_FILE=a\nCHROMABENCH_PICTURES=/a\n{name}=2\n")
    reason = "is ignored, because no setting has this name"

    from_environment = find_ignored_variables({name: "2", "CHROMABENCH_REQUIRE_BROWSER": "1"}, None)
    from_file = find_ignored_variables(file, None)

    assert from_environment == [f"{name} {reason}: {suggestion}"]
    assert from_file == [f"{name} in {file[FILE_VARIABLE]} {reason}: {suggestion}"]


def test_the_name_of_the_file_in_the_file_itself_is_named(tmp_path):
    file = tmp_path / ".env"
    file.write_text(f"{FILE_VARIABLE}=/a\n")

    assert find_ignored_variables({}, file) == [
        f"{FILE_VARIABLE} in {file} is ignored: set it in the environment."
    ]


def test_a_command_warns_once_about_an_unknown_variable_and_continues(
    own_variables, monkeypatch, capsys
):
    monkeypatch.setenv("CHROMABENCH_SLOT", "2")

    status = main(["runs", "--json"])

    captured = capsys.readouterr()
    assert status == 0
    assert json.loads(captured.out) == []
    assert captured.err == (
        "warning: CHROMABENCH_SLOT is ignored, because no setting has this name: did you mean "
        "CHROMABENCH_SLOTS?\n"
    )


def test_doctor_names_the_file_and_the_ignored_variables(
    own_variables, write_file, monkeypatch, capsys
):
    file = write_file("CHROMABENCH_SLOTS=2\n")[FILE_VARIABLE]
    monkeypatch.setenv(FILE_VARIABLE, file)

    checks = []
    for name in ("CHROMABENCH_SLOTS", "CHROMABENCH_SLOT"):
        monkeypatch.setenv(name, "2")
        main(["doctor", "--json"])
        [check] = [
            check for check in json.loads(capsys.readouterr().out) if check["about"] == "Settings"
        ]
        checks.append((check["state"], check["found"]))

    assert checks[0] == ("good", f"{file} and the environment")
    assert checks[1][0] == "missing"
    assert checks[1][1].startswith("CHROMABENCH_SLOT is ignored")
