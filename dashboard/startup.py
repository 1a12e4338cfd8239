"""Checks before the server starts, for every command that starts the dashboard.

Not here: the port and the arguments of `python -m dashboard` (`dashboard.__main__`).
"""

import ipaddress
import sys
from typing import NoReturn

from streamlit import config

from engine import weights
from engine.errors import EngineError
from engine.settings import IS_CHECKOUT, Settings, ignored_variables
from engine.store import Store

HOW_TO_START = "Start the dashboard with " + (
    "`streamlit run dashboard/app.py` or `python -m dashboard`."
    if IS_CHECKOUT
    else "`chromabench app`."
)


def check_installation() -> None:
    """Exits with an error message of one sentence if the dashboard cannot work.

    The settings must be valid, the artifacts folder writable and the database readable.
    """
    try:
        settings = Settings.from_environment()
        settings.require_writable_artifacts()
        Store(settings.database_url).close()
    except EngineError as error:
        exit_with_error(str(error), error.exit_code)


def warn_if_exposed() -> None:
    """Writes to stderr what other machines can do with the dashboard if they can reach it."""
    if not is_exposed():
        return
    address = _listening_address()
    if address is None:
        warning = "The address of this server is unknown to the dashboard."
    else:
        warning = f"The dashboard listens on {address}, port {config.get_option('server.port')}."
    warning += (
        " Anyone who can reach it can start and delete runs unless a sign-in is set up "
        "(docs/security.md)."
    )
    if Settings.from_environment().data_roots is None:
        warning += " Pages read no folders, because CHROMABENCH_DATA_ROOTS is not set."
    sys.stderr.write(f"{warning}\n")


def warn_about_ignored_variables() -> None:
    """Writes to stderr which environment variables are ignored."""
    for sentence in ignored_variables():
        sys.stderr.write(f"warning: {sentence}\n")


def print_weights_hint() -> None:
    """Writes to stderr how to get FID, at each start until its weights are on this machine."""
    settings = Settings.from_environment()
    if settings.fetch == "ask" and weights.find("inception", settings) is None:
        inception = weights.get_weights("inception")
        sys.stderr.write(
            f"FID is not recorded yet, because the {inception.label} weights "
            f"({inception.size_text}) are not on this machine. Download them on the Launch page, "
            f"or with `{weights.install_command(inception.name)}`.\n"
        )


def is_exposed() -> bool:
    """Returns whether other machines may be able to reach the server of this process."""
    address = _listening_address()
    return address is None or not is_loopback(address)


def is_loopback(address: str) -> bool:
    """Returns whether only this machine can reach an IP address or host name."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _listening_address() -> str | None:
    """Returns the address that Streamlit's server listens on.

    Returns:
        None if another server runs the dashboard, for example uvicorn, whose address is not known.
    """
    if "streamlit.web.cli" not in sys.modules:
        return None
    address: str | None = config.get_option("server.address")
    return address or "0.0.0.0"


def exit_with_error(message: str, status: int) -> NoReturn:
    """Writes an error message to stderr and exits."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(status)
