"""`python -m dashboard`: checks what can be checked, then becomes the Streamlit server."""

import argparse
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import NoReturn

import plotly

from engine.errors import EngineError
from engine.settings import Settings

FOLDER = Path(__file__).resolve().parent
ADDRESS = "127.0.0.1"


def main() -> NoReturn:
    """Starts the server in this process's place, or says in a sentence why it cannot."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description="Open the dashboard.")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    chosen = parser.parse_args()
    try:
        Settings.from_environment().require_writable_artifacts()
    except EngineError as error:
        _refuse(str(error))
    if not _is_free(chosen.port):
        _refuse(
            f"Port {chosen.port} is taken, perhaps by another dashboard. "
            f"Choose another: make app PORT={chosen.port + 1}."
        )
    place_plotly()
    command = [sys.executable, "-m", "streamlit", "run", str(FOLDER / "app.py")]
    command += ["--server.port", str(chosen.port), "--server.address", ADDRESS]
    command += ["--server.headless", str(chosen.headless).lower()]
    os.execv(sys.executable, command)


def place_plotly() -> None:
    """Puts plotly's own script where the server hands out static files, for the live chart."""
    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    target = FOLDER / "static" / "plotly.min.js"
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}")
        shutil.copyfile(source, partial)
        partial.replace(target)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except (OSError, OverflowError):
            return False
    return True


def _refuse(sentence: str) -> NoReturn:
    sys.stderr.write(f"error: {sentence}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
