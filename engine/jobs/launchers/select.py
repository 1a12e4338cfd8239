"""Selects the launcher for each kind of job, and validates the settings of a Ray cluster.

Ray itself is imported only if the settings select it.
"""

import os
from typing import get_args
from urllib.parse import urlsplit

from engine.errors import BadInputError
from engine.jobs.launchers.interface import Launcher
from engine.jobs.launchers.local import LocalLauncher
from engine.records.runs import JobKind
from engine.settings import Settings
from engine.store import has_password, is_on_this_machine
from engine.system import extras


def select_launchers(settings: Settings) -> dict[JobKind, Launcher]:
    """Selects a launcher for each kind of job.

    Training runs on the Ray cluster if the settings select it. Scans run on this machine, which has
    the folders of images. Speed probes run on this machine, because they measure its speed.
    Evaluations of studies run on this machine, which has the weights of the feature networks.
    Exports run on this machine, because they use no GPU and almost no CPU.

    Raises:
        BadInputError: the Ray cluster cannot be used with these settings.
    """
    local = LocalLauncher(settings)
    launchers: dict[JobKind, Launcher] = dict.fromkeys(get_args(JobKind), local)
    if settings.launcher == "local":
        return launchers
    require_usable_cluster(settings)
    from engine.jobs.launchers.ray_jobs import RayLauncher

    return {**launchers, "train": RayLauncher(settings)}


def require_usable_cluster(settings: Settings) -> None:
    """Checks that a Ray cluster can be used with these settings, without a connection to it.

    Raises:
        BadInputError: Ray is not installed, the database password would be visible to other users
            of the cluster, Ray's token is disabled, or the database is only on this machine.
    """
    extras.require("cluster", "CHROMABENCH_LAUNCHER=ray")
    if has_password(settings.database_url):
        raise BadInputError(
            "Ray shows the environment of its jobs: remove the password from "
            "CHROMABENCH_DATABASE_URL and set it on each machine as PGPASSWORD or in ~/.pgpass."
        )
    if urlsplit(settings.ray_address).hostname in ("127.0.0.1", "localhost", "::1"):
        return
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        raise BadInputError(
            f"The Ray cluster at {settings.ray_address} is used only with its token: without a "
            "token, anyone who reaches the cluster can run code on it. Unset RAY_AUTH_MODE."
        )
    if is_on_this_machine(settings.database_url):
        raise BadInputError(
            "All machines of a Ray cluster must reach the database: set "
            "CHROMABENCH_DATABASE_URL to a PostgreSQL server."
        )
