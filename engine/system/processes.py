"""Who a process is: a pid alone lies, since pids come back and the dead may linger unreaped."""

import socket
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TOLERANCE = 0 if BOOT_ID.exists() else 2  # Linux counts ticks since the boot, others seconds


def identify(pid: int, role: str = "") -> str:
    """A process's identity, `host/boot/pid/start`, that no later process will share.

    Args:
        pid: of a living process.
        role: a word at the end that says what it is to the job.

    Raises:
        psutil.NoSuchProcess: it is not there.
    """
    process = psutil.Process(pid)
    identity = f"{host()}/{_boot_id()}/{pid}/{_start(process)}"
    return f"{identity}/{role}" if role else identity


ELSEWHERE = "elsewhere"  # in an identity's first place: submitted, on no machine yet


def is_submitted(identity: str) -> bool:
    """Whether it was handed to a cluster that has not said where it runs."""
    return identity.split("/")[0] == ELSEWHERE


def has_role(identity: str | None, role: str) -> bool:
    """Whether the identity was made for that role."""
    return identity is not None and identity.split("/")[4:] == [role]


@cache
def host() -> str:
    """This machine, told apart from others of the same name."""
    ids = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
    known = next((it.read_text().strip() for it in ids if it.is_file()), "")
    return f"{socket.gethostname()}-{known[:8]}" if known else socket.gethostname()


def is_here(identity: str) -> bool:
    """Whether the process was started on this host, so that its life can be looked up."""
    return identity.split("/")[0] == host()


def is_alive(identity: str) -> bool:
    """Whether that very process still runs on this host; a zombie does not."""
    _, boot, pid, start = identity.split("/")[:4]
    if boot != _boot_id():
        return False
    try:
        process = psutil.Process(int(pid))
        same = abs(int(_start(process)) - int(start)) <= TOLERANCE
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError):  # it went while it was looked at
        return False


def terminate(identity: str) -> None:
    """Asks the process to end (SIGTERM), if it is still that process."""
    if is_alive(identity):
        with suppress(psutil.Error, OSError):
            psutil.Process(int(identity.split("/")[2])).terminate()


def kill_tree(identity: str) -> None:
    """Ends the process and all its descendants at once, if it is still that process."""
    if not is_alive(identity):
        return
    members: list[psutil.Process] = []
    with suppress(psutil.Error, OSError):
        process = psutil.Process(int(identity.split("/")[2]))
        members = [*process.children(recursive=True), process]
    for member in members:
        with suppress(psutil.Error, OSError):
            member.kill()


def start_detached(
    command: list[str], log: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a process in its own session, its output appended to a log file."""
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


def _boot_id() -> str:
    # Elsewhere the time of the boot moves with the clock: start times alone must do.
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else "-"


def _start(process: psutil.Process) -> str:
    stat = Path(f"/proc/{process.pid}/stat")
    if stat.exists():
        # Field 22, counted after the command's closing bracket: start time in clock ticks.
        return stat.read_text().rpartition(")")[2].split()[19]
    return str(int(process.create_time()))
