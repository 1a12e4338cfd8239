import json
import subprocess
import sys

import pytest

from engine.cli.main import main
from engine.cli.maintenance import PRUNABLE_PARTS
from engine.jobs import spawn
from engine.maintenance import pruning
from engine.report.export import png
from engine.settings import PROJECT_ROOT, read_version
from tests.support.runs import NOW, kill_processes_of, tiny_config

ensure_supervisor = spawn.ensure_supervisor  # before the fixture replaces it


@pytest.fixture
def places(settings, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    return settings


@pytest.fixture
def with_supervisors(places, monkeypatch):
    """Commands can start supervisors, which are killed later."""
    monkeypatch.setattr(spawn, "ensure_supervisor", ensure_supervisor)
    yield places
    kill_processes_of(places)


STUDY = ["study", "--data", "openmoji", "--budget", "smoke"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["study", "--data", "nowhere", "--budget", "demo"],
        ["study", "--data", "openmoji", "--budget", "huge"],
        [*STUDY, "--set", "lr_g=nan"],
        [*STUDY, "--set", "px=100"],
        [*STUDY, "--set", "bogus=1"],
        [*STUDY, "--set", "l1"],
        [*STUDY, "--configurations", "best"],
        [*STUDY, "--seeds", "0"],
        [*STUDY, "--seeds", "many"],
        [*STUDY, "--name", "two\nlines"],
        ["study", "--budget", "demo"],
        ["bogus"],
        ["runs", "--study", "9"],
        ["table", "9"],
        ["cancel", "9"],
        ["data", "prepare", "openmoji", "--size", "50"],
        ["data", "prepare", "nowhere"],
        ["data", "check", "photos:/nowhere"],
        ["data", "check", "sidebyside:"],
        ["data", "check", "openmoji", "--restore"],
        ["data", "describe", "folders:a"],
        ["data", "fetch", "imagenet"],
        ["bench", "data", "--rounds", "0"],
        [*STUDY, "--set", "output=lab_ab"],
        [*STUDY, "--set", "output=cmyk"],
        [*STUDY, "--set", "pretrain=1"],
        ["study", "--data", "photos:/nowhere", "--budget", "smoke"],
        ["weights", "fetch", "bert"],
        ["cancel", "1" + "0" * 30],
        ["table", "-1"],
        ["export", "1", "--out", "x"],
        ["study"],
        ["study", "--from", "nowhere.json"],
        [*STUDY, "--from", "nowhere.json"],
        ["evaluate", "9"],
        ["evaluate", "1", "--split", "train"],
        ["evaluate", "1", "--features", "bert"],
        ["evaluate"],
        ["evaluate", "1", "--study", "1"],
        ["evaluate", "1", "--wait"],
        ["evaluate", "--study", "1", "--split", "val"],
        ["bench", "metrics", "--rounds", "0"],
        [*STUDY, "--set", "choose_by=beauty"],
        [*STUDY, "--set", "evaluations=0"],
        [*STUDY, "--name", ""],
        [*STUDY, "--set", "epochs=2", "--set", "epochs=3"],
        [*STUDY, "--configurations", "standard", "--set", "l1=0", "--set", "adversarial=0"],
        [*STUDY, "--set", "l1=" + "9" * 5000],
    ],
)
def test_bad_use_gives_one_sentence_and_exit_2_and_writes_nothing(places, capsys, arguments):
    status = main(arguments)

    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert len(captured.err) < 900
    assert list(places.artifacts.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message", "command"),
    [
        ("tabel 1", "No such command 'tabel'. Did you mean 'table'?", ""),
        ("data chek", "No such command 'chek'. Did you mean 'check'?", "data "),
        ("data", "Missing command", "data "),
        ("table", "Missing argument 'STUDY'", "table "),
        ("table -1", "No such option: -1", "table "),
        ("table two", "'STUDY': must be a whole number from 1 up, not 'two'", "table "),
        ("study --seed 2", "Possible options: --", "study "),
        ("study --seeds many", "'--seeds': must be a whole number, not 'many'", "study "),
        ("serve --idle soon", "'--idle': must be a number, not 'soon'", "serve "),
        ("evaluate 1 --split train", "'--split': 'train' is not one of 'val', 'test'", "evaluate "),
    ],
)
def test_a_usage_error_names_the_value_and_the_help_text(capsys, arguments, message, command):
    assert main(arguments.split(), "chromabench") == 2

    error = capsys.readouterr().err
    assert message in error
    assert error.endswith(f"(see `chromabench {command}--help`)\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CHROMABENCH_SLOTS", "²"),
        ("CHROMABENCH_ARTIFACTS", "~nosuchuser/x"),
        ("CHROMABENCH_ARTIFACTS", "/tmp/" + "x" * 300),
        ("CHROMABENCH_DATABASE_URL", "sqlite://"),
        ("CHROMABENCH_DATABASE_URL", "garbage"),
    ],
)
def test_a_bad_environment_gives_one_sentence(places, capsys, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    assert main(STUDY) == 2

    assert capsys.readouterr().err.count("\n") == 1
    assert list(places.artifacts.parent.iterdir()) == []


def test_a_pipe_that_is_closed_early_is_not_an_error(places, store):
    store.studies.add("key", "a", [tiny_config()], NOW)
    command = f"{sys.executable} -m engine table 1 --csv | true; exit ${{PIPESTATUS[0]}}"

    done = subprocess.run(
        ["bash", "-c", command], cwd=PROJECT_ROOT, capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_artifacts_that_cannot_be_written_are_exit_1_and_nothing_is_queued(places, capsys):
    places.artifacts.mkdir(mode=0o555)

    status = main(STUDY)

    assert status == 1
    assert "cannot be written" in capsys.readouterr().err
    assert not list(places.artifacts.iterdir())
    assert not (places.artifacts.parent / "runs.db").exists()


def test_study_prints_one_json_document(places, capsys):
    status = main([*STUDY, "--seeds", "2", "--json"])

    captured = capsys.readouterr()
    assert status == 0
    assert json.loads(captured.out) == {"study": 1, "runs": [1, 2, 3, 4, 5, 6, 7, 8]}
    assert "perceptual" in captured.err
    assert "features: efficientnet_lite0" in captured.err


def test_runs_prints_the_documented_json_keys(places, store, capsys):
    store.studies.add("key", "a", [tiny_config("gan", 3)], NOW)

    assert main(["runs", "--json"]) == 0

    (run,) = json.loads(capsys.readouterr().out)
    assert run["configuration"] == "gan"
    assert (run["seed"], run["state"], run["attempt"], run["reason"]) == (3, "queued", 0, None)
    assert set(run) >= {"id", "study", "epoch", "epochs"}


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "The artifacts folder"),
        (
            {
                "CHROMABENCH_LAUNCHER": "ray",
                "CHROMABENCH_RAY_ADDRESS": "http://cluster.invalid:8265",
                "RAY_AUTH_MODE": "disabled",
            },
            "The Ray cluster at http://cluster.invalid:8265",
        ),
    ],
)
def test_runs_lists_runs_with_one_warning_if_no_supervisor_can_start(
    with_supervisors, store, capsys, monkeypatch, variables, reason
):
    store.studies.add("key", "a", [tiny_config("gan")], NOW)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with_supervisors.artifacts.mkdir(mode=0o755 if variables else 0o555)

    status = main(["runs"])

    captured = capsys.readouterr()
    assert status == 0
    assert "queued" in captured.out
    assert captured.err.startswith(f"warning: queued jobs do not run. {reason}")
    assert captured.err.count("\n") == 1


def test_cancel_stops_a_queued_run(places, store, capsys):
    store.studies.add("key", "a", [tiny_config()], NOW)

    assert main(["cancel", "1"]) == 0

    assert capsys.readouterr().out == "run 1 is stopped\n"


def test_table_and_export_give_the_same_csv(places, store, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(png, "find_browser", lambda: None)
    store.studies.add("key", "a", [tiny_config(), tiny_config("gan")], NOW)

    assert main(["table", "1", "--csv"]) == 0
    printed = capsys.readouterr().out
    assert main(["export", "1", "--out", str(tmp_path / "out")]) == 0

    assert (tmp_path / "out" / "summary.csv").read_text() == printed
    assert len(printed.splitlines()) == 3


@pytest.mark.parametrize("arguments", [["data", "list"], ["weights", "list"], ["doctor"], ["runs"]])
def test_reading_commands_print_text_or_one_json_document(places, capsys, arguments):
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip()

    assert main([*arguments, "--json"]) == 0
    json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("program", ["chromabench", "python -m engine"])
def test_usage_texts_show_the_name_under_which_the_program_was_started(program, capsys):
    with pytest.raises(SystemExit) as exit_request:
        main(["study", "--help"], program)

    assert exit_request.value.code == 0
    assert capsys.readouterr().out.startswith(f"Usage: {program} study ")


def test_the_help_text_shows_whole_summaries_and_examples_with_the_name_of_the_program(capsys):
    for arguments in (["--help"], ["evaluate", "-h"]):
        with pytest.raises(SystemExit):
            main(arguments, "chromabench")

    text = " ".join(capsys.readouterr().out.split())
    assert "computes the missing metrics of a study. export" in text
    assert "chromabench evaluate --study 1 --wait" in text


def test_the_parts_in_the_help_text_of_prune_are_those_that_can_be_pruned():
    assert tuple(pruning.PARTS) == PRUNABLE_PARTS


def test_the_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit) as exit_request:
        main(["--version"])

    assert exit_request.value.code == 0
    assert capsys.readouterr().out == f"chromabench {read_version()}\n"


def test_doctor_shows_where_the_data_is(places, capsys):
    assert main(["doctor", "--json"]) == 0
    details = {check["about"]: check["found"] for check in json.loads(capsys.readouterr().out)}

    assert str(PROJECT_ROOT) in details["Chromabench"]
    assert str(places.artifacts) in details["Artifacts"]
    assert str(places.artifacts.parent / "runs.db") in details["Database"]


def test_doctor_reports_what_is_broken(places, capsys):
    places.artifacts.mkdir(mode=0o555)

    assert main(["doctor"]) == 1

    assert "cannot be written" in " ".join(capsys.readouterr().out.split())


def test_listing_runs_and_studies_loads_neither_torch_nor_jinja(places):
    program = (
        "import sys; from engine.cli.main import main; main(['runs']); main(['data', 'list']);"
        "sys.exit(bool({'torch', 'jinja2'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True)

    assert done.returncode == 0, done.stderr


def test_a_command_warns_about_a_variable_without_an_effect_and_works(places, capsys, monkeypatch):
    name = "CHROMABENCH_SLOTS".removesuffix("S")
    monkeypatch.setenv(name, "2")

    assert main(["runs"]) == 0

    warning = capsys.readouterr().err
    assert warning.startswith("warning: ")
    assert name in warning
