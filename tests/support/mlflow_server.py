"""A real MLflow server for tests, and a relay that makes it unreachable for a while."""

import os
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.runs import TIMEOUT_S

POLL_EVERY_S = 0.1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """An MLflow server of two processes, without the processes that run MLflow's own jobs."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                    *("--port", str(self.port), "--workers", "1"),
                    *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
                    *("--artifacts-destination", str(self.folder / "artifacts")),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
            )
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(POLL_EVERY_S)
        raise AssertionError("MLflow's server did not start")

    def stop(self):
        """Kills the server at once: its data is not used any more."""
        root = psutil.Process(self.process.pid)
        for member in (*root.children(recursive=True), root):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.process.wait()

    @property
    def client(self):
        from mlflow import MlflowClient  # imported here: it takes a second to load

        return MlflowClient(tracking_uri=self.uri)


class _Forwarder(socketserver.BaseRequestHandler):
    """Forwards one connection in both directions, until one end or the relay closes it."""

    def handle(self):
        relay = self.server
        with suppress(OSError), socket.create_connection(relay.target) as upstream:
            other_end = {self.request: upstream, upstream: self.request}
            while not relay.is_cut.is_set():
                for end in select.select([*other_end], [], [], POLL_EVERY_S)[0]:
                    content = end.recv(65536)
                    if not content:
                        return
                    other_end[end].sendall(content)
                    if relay.cut_after is not None and relay.cut_after in content:
                        relay.is_cut.set()
                        return


class Relay(socketserver.ThreadingTCPServer):
    """Forwards connections to a server of this machine; before and after, nothing listens.

    Attributes:
        cut_after: the text after which all connections are closed, without the server's answer;
            None: they stay open.
        is_cut: set after this text was forwarded.
    """

    allow_reuse_address = True

    def __init__(self, port, target_port, cut_after=None):
        super().__init__(("127.0.0.1", port), _Forwarder)
        self.target, self.cut_after = ("127.0.0.1", target_port), cut_after
        self.is_cut = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_EVERY_S,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.is_cut.set()
        self.shutdown()
        self.server_close()  # waits for the threads of the connections
        self._thread.join()
