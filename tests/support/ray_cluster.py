"""A real Ray cluster on this machine, which requires a token."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from engine.settings import PROJECT_ROOT
from tests.support.runs import wait_for

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
    """Starts a cluster of one machine; kills all its processes after the block.

    Ray's autoscaler and log monitor are not started: jobs do not use them.
    """
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
        *("--no-monitor", "--include-log-monitor=false"),
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
        wait_for(lambda: accepts_jobs(head, folder / "log", address, token))
        assert requests.get(f"{address}/api/jobs/", timeout=5).status_code in (401, 403)
        yield Cluster(address, token)
    finally:
        # An orderly shutdown takes many seconds, and no test needs the cluster any more. The parent
        # is killed first, so that it starts no process again.
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(head.pid)
            for member in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def accepts_jobs(head, log, address, token):
    """Returns whether the cluster answers a request with its token; fails if it has exited."""
    assert head.poll() is None, log.read_text()[-3000:]
    try:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{address}/api/jobs/", headers=headers, timeout=2).ok
    except requests.RequestException:
        return False
