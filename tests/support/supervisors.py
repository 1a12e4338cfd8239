"""Real supervisors of an installation, and installations for the tests of one module."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.settings import Settings
from engine.system import child_environment, processes
from tests.support.runs import kill_processes_of, share_prepared_data


def prepare_installation(folder: Path, packed_settings: Settings, **changes) -> Settings:
    """Makes settings with an empty database that share the packed pairs of all tests."""
    url = f"sqlite:///{folder}/runs.db"
    settings = Settings(url, folder / "artifacts", **{"slots": 1, **changes})
    share_prepared_data(packed_settings, settings)
    return settings


@contextmanager
def supervisors_of(settings: Settings) -> Iterator:
    """Yields a function that starts a supervisor; kills all processes of the installation."""
    supervisors = []

    def start(*options):
        command = [sys.executable, "-m", "engine", "supervise", *options]
        log = settings.artifacts / "supervisor.log"
        environment = child_environment.build_child_environment(settings)
        supervisors.append(processes.start_detached(command, log, environment))
        return supervisors[-1]

    try:
        yield start
    finally:
        for child in supervisors:
            if child.poll() is None:
                child.kill()
            child.wait()
        kill_processes_of(settings)
