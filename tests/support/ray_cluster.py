"""A real Ray cluster on this machine, which requires a token."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from engine.settings import PROJECT_ROOT

START_TRIES = 240
OBJECT_STORE_BYTES = 100 * 2**20  # the minimum; the jobs store no objects


@dataclass(frozen=True)
class Cluster:
    """The address of a cluster and its token."""

    address: str
    token: str


def free_ports(count):
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def running_cluster():
    """Starts a cluster of one machine; kills all its processes after the block."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: it contains sockets
    token = secrets.token_hex(32)
    ports = free_ports(7)
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    names += ("ray-client-server-port", "node-manager-port", "object-manager-port")
    command = [
        *(str(Path(os.sys.executable).parent / "ray"), "start", "--head", "--block"),
        *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"),
        *(f"--{name}={port}" for name, port in zip(names, ports, strict=True)),
        *("--num-cpus=4", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}"),
        *("--temp-dir", str(folder), "--disable-usage-stats"),
    ]
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_memory_monitor_refresh_ms": "0",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    address = f"http://127.0.0.1:{ports[1]}"
    try:
        for _ in range(START_TRIES):
            assert head.poll() is None, (folder / "log").read_text()[-3000:]
            try:
                response = requests.get(
                    f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"}, timeout=2
                )
                if response.ok:
                    break
            except requests.RequestException:
                pass
            time.sleep(0.5)
        assert requests.get(f"{address}/api/jobs/", timeout=5).status_code in (401, 403)
        yield Cluster(address, token)
    finally:
        members = psutil.Process(head.pid).children(recursive=True)
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(timeout=30)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait()
        for member in members:
            if member.is_running():
                member.kill()
        shutil.rmtree(folder, ignore_errors=True)
