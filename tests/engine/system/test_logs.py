"""The format of logs: each test configures logging in a process of its own."""

import logging
import re
import subprocess
import sys

import pytest

from engine.system import logs
from engine.system.child_environment import build_child_environment
from engine.system.logs import HEAD

WRITE_LINES = """
logs.configure(sys.argv[1])
for n in range(200):
    logging.getLogger("engine.a").info("%d %s\\nsecond line", n, "x" * 3000)
"""
UVICORN = """
import uvicorn
logs.configure("dashboard")
uvicorn.Config(app=None)  # adds handlers to its loggers
logs.adopt_loggers()
logging.getLogger("uvicorn.error").info("started")
"""
TORCH = """
logs.configure("dashboard")
import torch
logs.adopt_loggers()
logging.getLogger("torch.distributed.elastic").warning("rank 1 failed")
"""
STREAMLIT = """
import streamlit
from dashboard import startup
startup.configure_log()
streamlit.logger.get_logger("streamlit.of_a_later_import").warning("a page failed")
logging.getLogger("streamlit.web.server").warning("a page failed")
"""


@pytest.fixture
def log_of(settings):
    """A function that runs statements in a new process and returns what they write."""

    def run(statements, **variables):
        program = f"import logging, sys, warnings\nfrom engine.system import logs\n{statements}"
        completed = subprocess.run(
            [sys.executable, "-c", program],
            env={**build_child_environment(settings), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return completed.stdout.splitlines()

    return run


def messages(log):
    return [HEAD.sub("", line) for line in log]


@pytest.mark.parametrize(
    ("statement", "level", "message"),
    [
        ("logging.getLogger('engine.data').info('packing')", "INFO", "packing"),
        ("logging.getLogger('torch.cuda').warning('slow')", "WARNING", "torch: slow"),
        ("warnings.warn_explicit('old', FutureWarning, 'a.py', 7)", "WARNING", "a.py:7: Futur"),
        ("print('loaded', 'weights', end='\\n\\n')", "INFO", "loaded weights"),
        ("sys.stderr.write('\\r10 %\\r20 %'); sys.stderr.write('\\r30 %\\n')", "WARNING", "30 %"),
        ("sys.stderr.write('error: There is no run 7.\\n')", "ERROR", "error: There is no run 7."),
    ],
)
def test_whatever_a_process_reports_is_a_line_with_time_level_and_subject(
    log_of, statement, level, message
):
    log = log_of(f"logs.configure('run 3, job 4')\n{statement}")

    assert [HEAD.match(line)["level"] for line in log] == [level]
    assert messages(log)[0].startswith(f"run 3, job 4: {message}")


def test_an_uncaught_error_is_a_traceback_and_a_last_line_with_the_reason(log_of):
    log = log_of("logs.configure('supervisor')\nraise OSError(28, 'No space left on device')")

    assert all(HEAD.match(line)["level"] == "ERROR" for line in log)
    assert "supervisor: Traceback (most recent call last):" in messages(log)
    assert messages(log)[-1] == "supervisor: ended by OSError: [Errno 28] No space left on device"


def test_an_error_that_ends_a_thread_is_logged(log_of):
    log = log_of(
        "import threading\nlogs.configure('supervisor')\n"
        "threading.Thread(target=lambda: 1 / 0, name='webhook').start()"
    )

    assert messages(log)[0] == "supervisor: thread webhook ends"
    assert messages(log)[-1] == "supervisor: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", ["own debug", "own info", "other: info", "own error"]),
        ("info", ["own info", "other: info", "own error"]),
        ("error", ["own error"]),
    ],
)
def test_the_level_of_the_settings_selects_the_messages(log_of, level, logged):
    log = log_of(
        "logs.configure('a')\n"
        "own, other = logging.getLogger('engine.b'), logging.getLogger('other')\n"
        "own.debug('own debug'), own.info('own info'), other.debug('debug'), other.info('info')\n"
        "own.error('own error')",
        CHROMABENCH_LOG_LEVEL=level,
    )

    assert messages(log) == [f"a: {message}" for message in logged]


def test_lines_of_processes_that_share_a_log_are_never_mixed(settings, tmp_path):
    program = f"import logging, sys\nfrom engine.system import logs\n{WRITE_LINES}"
    path = tmp_path / "run.log"

    with path.open("ab") as log:
        children = [
            subprocess.Popen(
                [sys.executable, "-c", program, f"rank {rank}"],
                env=build_child_environment(settings),
                stderr=log,
            )
            for rank in range(2)
        ]
    assert [child.wait() for child in children] == [0, 0]

    lines = messages(path.read_text().splitlines())
    for rank in range(2):
        own = [line for line in lines if line.startswith(f"rank {rank}: ")]
        assert own == [
            f"rank {rank}: {text}"
            for n in range(200)
            for text in (f"{n} {'x' * 3000}", "second line")
        ]
    assert len(lines) == 800


@pytest.mark.parametrize(
    ("program", "count"),
    [(UVICORN, 1), (TORCH, 1), (STREAMLIT, 2)],
    ids=["uvicorn", "torch", "streamlit"],
)
def test_records_of_libraries_are_logged_once_in_the_same_format(log_of, program, count):
    log = log_of(program)

    assert len(log) == count
    assert all(HEAD.match(line) for line in log)
    assert all(re.match("dashboard: [a-z]+: [a-z]", line) for line in messages(log))


def test_a_repeated_warning_is_dropped_and_counted():
    repeats = logs._RepeatFilter()

    def logged(seconds, level=logging.WARNING):
        values = {"levelno": level, "msg": "waiting for %s", "args": ("it",), "created": seconds}
        record = logging.makeLogRecord(values)
        return record.getMessage() if repeats.filter(record) else None

    assert [logged(second) for second in range(50)].count("waiting for it") == 3
    assert logged(60) == "waiting for it (47 more were dropped)"
    assert logged(61) == "waiting for it"
    assert all(logged(62, logging.INFO) for _ in range(10))


def test_a_line_is_appended_to_the_log_of_an_ended_process(tmp_path):
    path = tmp_path / "run.log"
    path.write_text("Fatal Python error: Aborted\n")

    logs.append(path, logging.ERROR, "run 1, job 1", "crashed")
    logs.append(tmp_path / "deleted" / "run.log", logging.ERROR, "run 1, job 1", "crashed")

    first, last = path.read_text().splitlines()
    assert first == "Fatal Python error: Aborted"
    assert messages([last]) == ["run 1, job 1: crashed"]
    assert not (tmp_path / "deleted").exists()


def test_warnings_and_lines_without_a_level_are_selected():
    head = "2026-01-02T03:04:05.678Z"
    log = [
        f"{head} INFO    run 1: training",
        f"{head} WARNING run 1: no heartbeat",
        f"{head} ERROR   run 1: failed",
        "Fatal Python error: Segmentation fault",
    ]

    assert logs.select_warnings("\n".join(log)).splitlines() == log[1:]
