"""`python -m dashboard`: checks its arguments, starts the server and opens a browser."""

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

from dashboard import startup
from engine.settings import IS_CHECKOUT

FOLDER = Path(__file__).resolve().parent
DEFAULT_ADDRESS = "127.0.0.1"
MAX_READY_CHECKS = 100
READY_CHECK_S = 0.2
# The command that opens the dashboard, up to the number of its port.
PORT_OPTION = "make app PORT=" if IS_CHECKOUT else "chromabench app --port "


def main() -> NoReturn:
    """Runs the server, or exits with an error message of one sentence."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description="Open the dashboard.")
    parser.add_argument("--port", default="8501", help="port number, from 1 to 65535")
    parser.add_argument(
        "--address",
        default=DEFAULT_ADDRESS,
        help="IP address to listen on; read docs/security.md before you change it",
    )
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    args = parser.parse_args()
    # `dashboard.app` repeats this check, but only after Streamlit has printed its address.
    startup.check_installation()
    if not re.fullmatch(r"[1-9][0-9]{0,4}", args.port) or int(args.port) > 65535:
        startup.exit_with_error(
            f"The port must be a number from 1 to 65535, not {args.port[:40]!r}.", 2
        )
    port = int(args.port)
    if not _is_ip_address(args.address):
        startup.exit_with_error(
            "--address must be an IP address such as 127.0.0.1 or 0.0.0.0, "
            f"not {args.address[:60]!r}.",
            2,
        )
    if not _is_free(args.address, port):
        startup.exit_with_error(
            f"Port {port} is already in use. Choose another one: {PORT_OPTION}{port % 65535 + 1}.",
            1,
        )
    if not args.headless and _has_screen():
        address = f"http://{'127.0.0.1' if args.address == '0.0.0.0' else args.address}:{port}"
        threading.Thread(target=_open_when_ready, args=(address,), daemon=True).start()
    startup.configure_log()
    options = ["--server.port", str(port), "--server.address", args.address]
    sys.argv = ["streamlit", "run", str(FOLDER / "app.py"), *options]
    sys.exit(streamlit_cli.main())


def _has_screen() -> bool:
    return sys.platform != "linux" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _open_when_ready(address: str) -> None:
    """Opens the user's browser as soon as the server responds."""
    for _ in range(MAX_READY_CHECKS):
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                break
        except OSError:
            time.sleep(READY_CHECK_S)
    webbrowser.open(address)


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    main()
