"""Identifies, starts and ends processes of this host.

A pid alone does not identify a process: the system reuses pids, and a process that has ended keeps
its pid until its parent has reaped it.
"""

import os
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Linux gives the start time in whole ticks since the boot. Other systems give seconds, and two
# readings of one start time may be rounded differently.
START_TOLERANCE = 0 if BOOT_ID.exists() else 2
SUBMITTED_HOST = "elsewhere"


@dataclass(frozen=True)
class ProcessId:
    """Identifies a process; no other process ever has the same identity.

    The text form is `host/boot/pid/start` or `host/boot/pid/start/role`. For a process that was
    submitted to a cluster and has not started yet, it is `elsewhere/name`.

    Attributes:
        host: the result of `host_id` on the machine of the process.
        boot: the boot id of this machine; for a submitted process, the name of the cluster job.
        pid: the process id; None for a submitted process.
        start: the start time, in ticks since the boot on Linux, else in seconds since 1970.
        role: the role of the process in its job; usually empty.
    """

    host: str
    boot: str = ""
    pid: int | None = None
    start: int | None = None
    role: str = ""

    @classmethod
    def of(cls, pid: int, role: str = "") -> "ProcessId":
        """Identifies a living process of this host.

        Raises:
            psutil.NoSuchProcess: no process has this pid.
        """
        return cls(host_id(), _boot_id(), pid, _start_time(psutil.Process(pid)), role)

    @classmethod
    def submitted(cls, name: str) -> "ProcessId":
        """Identifies a process that was submitted to a cluster under a name."""
        return cls(SUBMITTED_HOST, name)

    @classmethod
    def parse(cls, text: str) -> "ProcessId":
        """Parses the text that `str` returns for an identity."""
        host, boot, pid, start, role = (text.split("/") + [""] * 4)[:5]
        return cls(host, boot, int(pid) if pid else None, int(start) if start else None, role)

    def __str__(self) -> str:
        parts = (self.host, self.boot, self.pid, self.start, self.role)
        return "/".join(str(part) for part in parts if part not in (None, ""))

    @property
    def is_local(self) -> bool:
        """Whether the process was started on this host, so that `is_alive` can examine it."""
        return self.host == host_id()

    @property
    def is_submitted(self) -> bool:
        """Whether the process was submitted to a cluster and has not started yet."""
        return self.host == SUBMITTED_HOST

    def is_alive(self) -> bool:
        """Returns whether this process still runs on this host; False for a zombie."""
        if self.boot != _boot_id() or self.pid is None or self.start is None:
            return False
        try:
            process = psutil.Process(self.pid)
            is_same = abs(_start_time(process) - self.start) <= START_TOLERANCE
            return is_same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.AccessDenied:
            return True
        except (psutil.Error, OSError):  # the process ended during the examination
            return False

    def terminate(self) -> None:
        """Sends SIGTERM to the process, if it is alive."""
        if self.is_alive():
            with suppress(psutil.Error, OSError):
                psutil.Process(self.pid).terminate()

    def kill_tree(self) -> None:
        """Kills the process and all its descendants, if the process is alive."""
        if not self.is_alive():
            return
        members: list[psutil.Process] = []
        with suppress(psutil.Error, OSError):
            process = psutil.Process(self.pid)
            members = [*process.children(recursive=True), process]
        for member in members:
            with suppress(psutil.Error, OSError):
                member.kill()


@cache
def host_id() -> str:
    """Returns this machine's name and a part of its machine id: two machines may share a name."""
    paths = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
    machine_id = next((path.read_text().strip() for path in paths if path.is_file()), "")
    return f"{socket.gethostname()}-{machine_id[:8]}" if machine_id else socket.gethostname()


def start_detached(
    command: list[str], log: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a process in its own session and appends its output to a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )


def spawn_detached(command: list[str], log: Path, environment: dict[str, str]) -> None:
    """Starts a detached process and lets a daemon thread reap it when it exits.

    The process survives its parent. While the parent lives, the thread prevents a zombie.

    Raises:
        OSError: the process could not be started.
    """
    child = start_detached(command, log, environment)
    threading.Thread(target=child.wait, daemon=True).start()


def count_cores() -> int:
    """Counts the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _boot_id() -> str:
    # Systems other than Linux have no boot id, and the time of the boot changes when the clock is
    # set. On these systems only the start time distinguishes two processes with equal pids.
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else "-"


def _start_time(process: psutil.Process) -> int:
    stat = Path(f"/proc/{process.pid}/stat")
    if stat.exists():
        # Field 22 of `stat` is the start time in clock ticks. Count the fields from the closing
        # bracket of the command, because the command may contain spaces.
        return int(stat.read_text().rpartition(")")[2].split()[19])
    return int(process.create_time())
