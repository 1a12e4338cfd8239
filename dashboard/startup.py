"""Checks before the server starts, for every command that starts the dashboard.

Not here: the port and the arguments of `python -m dashboard` (`dashboard.__main__`).
"""

import ipaddress
import logging
import sys
from typing import NoReturn

from streamlit import config
from streamlit import logger as streamlit_logger

from engine import weights
from engine.errors import EngineError
from engine.settings import IS_CHECKOUT, Settings, ignored_variables
from engine.store import Store
from engine.system import logs

logger = logging.getLogger(__name__)

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


def configure_log() -> None:
    """Gives the records of Streamlit and of its server the format of all logs."""
    logs.configure("dashboard")
    # Streamlit gives each of its loggers, also those of later imports, a handler of its own.
    streamlit_logger.setup_formatter = _use_handler_of_root
    streamlit_logger.update_formatter()
    # Pages request new data every second, and the addresses contain the key of the data routes.
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _use_handler_of_root(logger: logging.Logger) -> None:
    logger.handlers = []
    logger.propagate = True


def warn_if_exposed() -> None:
    """Logs what other machines can do with the dashboard if they can reach it."""
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
    logger.warning("%s", warning)


def log_ignored_variables() -> None:
    """Logs which environment variables are ignored."""
    for sentence in ignored_variables():
        logger.warning("%s", sentence)


def log_weights_hint() -> None:
    """Logs how to get FID, at each start until its weights are on this machine."""
    settings = Settings.from_environment()
    if settings.fetch == "ask" and weights.find("inception", settings) is None:
        inception = weights.get_weights("inception")
        logger.info(
            "FID is not recorded yet, because the %s weights (%s) are not on this machine. "
            "Download them on the Launch page, or with `%s`.",
            inception.label,
            inception.size_text,
            weights.install_command(inception.name),
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
