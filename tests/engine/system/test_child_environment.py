import os
import subprocess
import sys

from engine.settings import PROJECT_ROOT
from engine.system.child_environment import build_child_environment


def test_a_package_of_the_same_name_in_the_current_folder_is_not_imported(settings, tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise SystemExit('the wrong package')")

    completed = subprocess.run(
        [sys.executable, "-m", "engine", "--version"],
        cwd=tmp_path,
        env=build_child_environment(settings),
        capture_output=True,
        text=True,
        check=True,
    )

    assert completed.stdout.startswith("chromabench ")


def test_a_child_of_a_checkout_imports_the_checkout_before_other_folders(settings, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/other")

    environment = build_child_environment(settings)

    assert environment["PYTHONPATH"].split(os.pathsep) == [str(PROJECT_ROOT), "/other"]


def test_the_folder_of_a_wheel_does_not_precede_the_standard_library(settings, monkeypatch):
    monkeypatch.setattr("engine.system.child_environment.IS_CHECKOUT", False)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    assert "PYTHONPATH" not in build_child_environment(settings)
