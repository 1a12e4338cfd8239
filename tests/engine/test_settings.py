import platformdirs
import pytest

from engine import settings as settings_module
from engine.errors import BadInputError, EngineError, StoreError
from engine.settings import DISTRIBUTION, PROJECT_ROOT, Settings, is_checkout
from engine.store import Store


def test_without_variables_everything_lies_in_the_projects_root():
    settings = Settings.from_environment({})

    assert settings.artifacts == PROJECT_ROOT / "artifacts"
    assert settings.database_url == f"sqlite:///{PROJECT_ROOT}/runs.db"
    assert settings.slots is None


def test_the_variables_are_taken(tmp_path):
    settings = Settings.from_environment(
        {
            "CHROMABENCH_ARTIFACTS": str(tmp_path),
            "CHROMABENCH_DATABASE_URL": "sqlite:///x.db",
            "CHROMABENCH_SLOTS": "3",
        }
    )

    assert settings == Settings("sqlite:///x.db", tmp_path, 3)


@pytest.mark.parametrize(
    ("project_file", "expected"),
    [
        (f'[project]\nname = "{DISTRIBUTION}"\n', True),
        ('[project]\nname = "another"\n', False),
        (None, False),
    ],
)
def test_a_folder_is_a_checkout_if_its_project_file_names_this_project(
    tmp_path, project_file, expected
):
    if project_file is not None:
        (tmp_path / "pyproject.toml").write_text(project_file)

    assert is_checkout(tmp_path) == expected


def test_outside_a_checkout_everything_lies_in_the_users_data_folder_which_is_created(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(settings_module, "IS_CHECKOUT", False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    folder = platformdirs.user_data_path("chromabench", appauthor=False)

    settings = Settings.from_environment({})
    Store(settings.database_url).close()

    assert settings.artifacts == folder / "artifacts"
    assert (folder / "runs.db").is_file()


def test_another_folder_that_does_not_exist_is_not_created(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{tmp_path}/absent/runs.db")

    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("slots", ["0", "-1", "many", "1.5", "²", "9" * 30])
def test_slots_must_be_a_whole_number_of_at_least_one(slots):
    with pytest.raises(BadInputError, match="CHROMABENCH_SLOTS"):
        Settings.from_environment({"CHROMABENCH_SLOTS": slots})


@pytest.mark.parametrize("fetch", ["auto", "ask", "never"])
def test_downloads_of_weights_are_made_refused_or_left_to_the_user(fetch):
    settings = Settings.from_environment(
        {"CHROMABENCH_FETCH": fetch, "CHROMABENCH_WEIGHTS_URL": "https://mirror.example/files"}
    )

    assert (settings.fetch, settings.weights_url) == (fetch, "https://mirror.example/files")
    assert Settings.from_environment({}).fetch == "ask"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("CHROMABENCH_FETCH", "always", "is auto, ask or never, not 'always'"),
        ("CHROMABENCH_LOG_LEVEL", "INFO", "is debug, info, warning or error, not 'INFO'"),
        ("CHROMABENCH_WEIGHTS_URL", "ftp://mirror.example", "must be an http:// or https://"),
        ("CHROMABENCH_WEIGHTS_URL", "https://me:secret@mirror.example", "~/.netrc instead"),
    ],
)
def test_an_invalid_variable_is_one_sentence(variable, value, sentence):
    with pytest.raises(BadInputError, match=sentence) as refusal:
        Settings.from_environment({variable: value})

    assert str(refusal.value).startswith(variable)
    assert "secret" not in str(refusal.value)


def test_a_folder_that_is_marked_read_only_is_refused(tmp_path):
    folder = tmp_path / "artifacts"
    folder.mkdir(mode=0o555)

    with pytest.raises(EngineError, match="cannot be written") as refusal:
        Settings("sqlite://", folder).require_writable_artifacts()

    assert refusal.value.exit_code == 1
    assert not list(folder.iterdir())


def test_nothing_is_made_inside_a_folder_that_is_marked_read_only(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)

    with pytest.raises(EngineError, match="cannot be written"):
        Settings("sqlite://", folder / "artifacts").require_writable_artifacts()

    assert not list(folder.iterdir())


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "artifacts").write_text("not a folder")

    with pytest.raises(EngineError, match="cannot be written"):
        Settings("sqlite://", tmp_path / "artifacts").require_writable_artifacts()
