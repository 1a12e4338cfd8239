"""Configures Python's `logging` for the processes that run for a long time.

Each line of a log has a time in UTC, a level, and the subject of the process:

    2026-11-27T02:03:04.123Z WARNING run 12, job 57: the database is locked

UTC, because the processes of one run may be on several machines and a database stores UTC as well;
it has no hour that occurs twice. A message or a traceback of several lines has this head on each of
its lines. Messages of other packages begin with the name of the package.

Not here: the paths of the logs (`jobs.worker_command`, `serve.discovery`).
"""

import faulthandler
import io
import logging
import os
import re
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from engine.errors import BadInputError
from engine.settings import Settings

STDOUT, STDERR = 1, 2  # file descriptors
OWN_PACKAGES = ("engine", "dashboard", "__main__")  # workers are main programs
# A message of these loggers begins with its source already, or has none.
UNNAMED_LOGGERS = ("py.warnings", "stdout", "stderr")
# An identical warning is written this many times in each period; the others are counted.
MAX_REPEATS, REPEAT_PERIOD_S = 3, 60.0
MAX_COUNTED_MESSAGES = 1000
HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>[A-Z]+) +")

logger = logging.getLogger(__name__)


def configure(subject: str) -> None:
    """Makes all log records, warnings and uncaught errors of this process lines on stderr.

    Lines that Python code prints are records too, unless they are printed to a terminal. The stack
    of a fatal signal, and messages of C libraries, are written to stderr without a head.

    Args:
        subject: what the process works on, for example `run 12, job 57`.
    """
    handler = _StderrHandler()
    handler.setFormatter(_LineFormatter(subject))
    handler.addFilter(_RepeatFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught_error
    threading.excepthook = _log_uncaught_error_of_thread
    faulthandler.enable(STDERR)
    if not os.isatty(STDOUT):
        sys.stdout = _LoggedStream(STDOUT, logging.getLogger("stdout"), logging.INFO)
    if not os.isatty(STDERR):
        sys.stderr = _LoggedStream(STDERR, logging.getLogger("stderr"), logging.WARNING)
    adopt_loggers()
    with suppress(BadInputError):  # the program reads the settings too, and reports the error
        level = logging.getLevelNamesMapping()[Settings.from_environment().log_level.upper()]
        handler.setLevel(level)
        for package in OWN_PACKAGES:  # the debug messages of other packages are not logged
            logging.getLogger(package).setLevel(level)


def adopt_loggers() -> None:
    """Removes the handlers with which other packages write to stdout and stderr themselves.

    Their records reach the handler of `configure` then. Packages add such handlers when they are
    imported, so this function is called again after the import of torch, Ray or uvicorn.
    """
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for other in list(logging.Logger.manager.loggerDict.values()):
        if not isinstance(other, logging.Logger):
            continue
        for handler in list(other.handlers):
            if getattr(handler, "stream", None) in streams:  # torch has a class of its own
                other.removeHandler(handler)
                other.propagate = True


def append(path: Path, level: int, subject: str, message: str) -> None:
    """Appends a record to the log of another process, which has ended.

    A log that cannot be written stays as it is: the reader of its folder may have no write access.

    Args:
        path: the log.
        level: a level of `logging`.
        subject: the subject of the other process.
        message: one line or several lines.
    """
    record = logging.makeLogRecord(
        {"name": __name__, "levelno": level, "levelname": logging.getLevelName(level)}
        | {"msg": message}
    )
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            _write(descriptor, _LineFormatter(subject).format(record))
        finally:
            os.close(descriptor)


def select_warnings(text: str) -> str:
    """Selects the lines of a log whose level is at least WARNING, and the lines without a level.

    Lines without a level are the stacks of fatal signals and messages of C libraries.
    """
    levels = ("WARNING", "ERROR", "CRITICAL")
    matches = ((line, HEAD.match(line)) for line in text.splitlines())
    return "\n".join(
        line for line, head in matches if head is None or head.group("level") in levels
    )


def _write(descriptor: int, text: str) -> None:
    """Writes with one system call: lines of processes that share a log are never mixed.

    A full disk or a closed pipe must not end a run, so lines that cannot be written are lost.
    """
    with suppress(OSError):
        os.write(descriptor, f"{text}\n".encode("utf-8", "backslashreplace"))


class _LineFormatter(logging.Formatter):
    """Writes the time, the level and the subject at the beginning of each line of a record."""

    def __init__(self, subject: str) -> None:
        super().__init__()
        self._subject = subject

    def format(self, record: logging.LogRecord) -> str:
        package = record.name.partition(".")[0]
        is_named = package not in OWN_PACKAGES and record.name not in UNNAMED_LOGGERS
        text = f"{package}: {super().format(record)}" if is_named else super().format(record)
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = f"{time.removesuffix('+00:00')}Z {record.levelname:<7} {self._subject}: "
        return "\n".join(f"{head}{line}" for line in text.splitlines() if line.strip())


class _StderrHandler(logging.Handler):
    """Writes records to stderr. Logs are opened for appending by the parent of the process."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # arguments that do not fit their message: logging reports the place
            self.handleError(record)
        else:
            if text:  # nothing is left of an empty line
                _write(STDERR, text)


class _RepeatFilter(logging.Filter):
    """Drops identical warnings after the first `MAX_REPEATS` in a period, and counts them.

    The next one after the period says how many were dropped. An outage of the database, for
    example, gives the supervisor the same error three times a second.
    """

    def __init__(self) -> None:
        super().__init__()
        # (logger, message, arguments) -> (begin of the period, number of records in it)
        self._counts: dict[tuple[str, str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, str(record.msg), str(record.args))
        began_at, count = self._counts.get(key, (record.created, 0))
        if record.created - began_at < REPEAT_PERIOD_S:
            self._counts[key] = (began_at, count + 1)
            return count < MAX_REPEATS
        if count > MAX_REPEATS:
            record.msg = f"{record.msg} ({count - MAX_REPEATS} more were dropped)"
        if len(self._counts) >= MAX_COUNTED_MESSAGES:
            self._counts.clear()
        self._counts[key] = (record.created, 1)
        return True


class _LoggedStream(io.TextIOBase):
    """Takes the place of `sys.stdout` or `sys.stderr`, and logs each line that is printed.

    Of a line that a progress bar draws again and again, only its last state is logged.
    """

    encoding = "utf-8"

    def __init__(self, descriptor: int, destination: logging.Logger, level: int) -> None:
        super().__init__()
        self._descriptor, self._logger, self._level = descriptor, destination, level
        self._partial = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, partial = (self._partial + text).split("\n")
            self._partial = partial[partial.rstrip("\r").rfind("\r") + 1 :]
        for line in lines:
            # The command line writes its errors to stderr in this form.
            level = logging.ERROR if line.startswith("error: ") else self._level
            self._logger.log(level, "%s", line.rstrip("\r").rpartition("\r")[2])
        return len(text)

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True


def _log_uncaught_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Logs the traceback of an error that ends the process, and then the reason as last line."""
    logger.error("the process ends", exc_info=(kind, error, trace))
    logger.error("ended by %s: %s", kind.__name__, error)


def _log_uncaught_error_of_thread(arguments: threading.ExceptHookArgs) -> None:
    """Logs the traceback of an error that ends a thread."""
    if arguments.exc_type is SystemExit or arguments.exc_value is None:
        return
    name = arguments.thread.name if arguments.thread is not None else "unknown"
    error = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    logger.error("thread %s ends", name, exc_info=error)
