import pytest

from engine.errors import BadInputError, EngineError
from engine.settings import PROJECT_ROOT, Settings


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


@pytest.mark.parametrize("slots", ["0", "-1", "many", "1.5", "²", "9" * 30])
def test_slots_must_be_a_whole_number_of_at_least_one(slots):
    with pytest.raises(BadInputError, match="CHROMABENCH_SLOTS"):
        Settings.from_environment({"CHROMABENCH_SLOTS": slots})


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
