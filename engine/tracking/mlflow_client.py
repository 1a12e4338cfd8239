"""Checks the address of an MLflow server and the installation of MLflow's client.

This module does not import the client, which takes a second to load.
"""

import os
import re

from engine.errors import BadInputError
from engine.settings import Settings
from engine.system import extras

URI_VARIABLE = "MLFLOW_TRACKING_URI"


def check_uri(uri: str, origin: str) -> str:
    """Checks and returns the address of an MLflow server.

    Args:
        uri: the address.
        origin: the option or variable that contains the address.

    Raises:
        BadInputError: the text contains white space, a user name or a password, or is empty.
    """
    if not re.fullmatch(r"\S+", uri):
        raise BadInputError(
            f"{origin} must be the address of an MLflow server, such as http://127.0.0.1:5000, "
            f"not {uri[:60]!r}."
        )
    if re.search(r"://[^/]*@", uri):
        raise BadInputError(
            f"{origin} contains a password, which would be stored with the study: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )
    return uri


def set_credentials(settings: Settings) -> None:
    """Copies user and password of the settings into the variables that MLflow's client reads."""
    if settings.mlflow_username is not None:
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.mlflow_username
    if settings.mlflow_password is not None:
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.mlflow_password


def is_installed() -> bool:
    """Returns whether MLflow's client is installed."""
    return extras.find_missing_module("mlflow") is None


def require_installed() -> None:
    """Checks that MLflow's client is installed.

    Raises:
        BadInputError: the client is not installed.
    """
    extras.require("mlflow", "The export to MLflow")
