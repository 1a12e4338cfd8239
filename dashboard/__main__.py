"""`python -m dashboard`: checks what can be checked, then becomes the Streamlit server."""

import argparse
import ipaddress
import os
import re
import socket
import sys
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path
from typing import NoReturn

from streamlit.web import cli as streamlit_cli

from engine.errors import EngineError
from engine.settings import Settings
from engine.store import Store

FOLDER = Path(__file__).resolve().parent
ADDRESS = "127.0.0.1"
READY_TRIES = 100
READY_WAIT_S = 0.2


def main() -> NoReturn:
    """Becomes the server, or says in a sentence why it cannot."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description="Open the dashboard.")
    parser.add_argument("--port", default="8501", help="from 1 to 65535")
    parser.add_argument(
        "--address",
        default=ADDRESS,
        help="where to listen; beyond 127.0.0.1 only with care (docs/security.md)",
    )
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    chosen = parser.parse_args()
    try:
        settings = Settings.from_environment()
        settings.require_writable_artifacts()
        Store(settings.database_url).close()
    except EngineError as error:
        _refuse(str(error), error.exit_code)
    if not re.fullmatch(r"[1-9][0-9]{0,4}", chosen.port) or int(chosen.port) > 65535:
        _refuse(f"The port must be a number from 1 to 65535, not {chosen.port[:40]!r}.", 2)
    port = int(chosen.port)
    if not _is_loopback(chosen.address):
        # Whoever reaches the port can name folders: without a word from its owner, none.
        os.environ.setdefault("CHROMABENCH_DATA_ROOTS", "")
        sys.stderr.write(
            f"Listening on {chosen.address}: whoever reaches port {port} can start and delete "
            "runs unless a sign-in is set up (docs/security.md).\n"
        )
    if not _is_free(chosen.address, port):
        _refuse(
            f"Port {port} is taken, perhaps by another dashboard. "
            f"Choose another: make app PORT={port % 65535 + 1}.",
            1,
        )
    if not chosen.headless and _has_screen():
        address = f"http://{'127.0.0.1' if chosen.address == '0.0.0.0' else chosen.address}:{port}"
        threading.Thread(target=_open_when_ready, args=(address,), daemon=True).start()
    # Headless, for otherwise Streamlit advertises itself over the page.
    command = ["streamlit", "run", str(FOLDER / "server.py"), "--server.headless", "true"]
    sys.argv = [*command, "--server.port", str(port), "--server.address", chosen.address]
    sys.exit(streamlit_cli.main())


def _has_screen() -> bool:
    return sys.platform != "linux" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _open_when_ready(address: str) -> None:
    """Opens the reader's browser once the server answers."""
    for _ in range(READY_TRIES):
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
        except OSError:
            time.sleep(READY_WAIT_S)
    webbrowser.open(address)


def _is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address; refuses what is no address of it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        _refuse(f"--address takes a number such as 127.0.0.1 or 0.0.0.0, not {address[:60]!r}.", 2)


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _refuse(sentence: str, status: int) -> NoReturn:
    sys.stderr.write(f"error: {sentence}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
