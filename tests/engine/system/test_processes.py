import subprocess
import sys

import psutil
import pytest

from engine.system import processes
from engine.system.processes import ProcessId
from tests.support.runs import wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_process_is_alive_until_it_ends_even_if_it_is_not_reaped():
    child = subprocess.Popen(SLEEP)
    process = ProcessId.of(child.pid)
    assert process.is_local
    assert process.is_alive()

    child.kill()
    psutil.wait_procs([psutil.Process(child.pid)], timeout=0.5)

    assert not process.is_alive()
    child.wait()
    assert not process.is_alive()


def test_a_reused_pid_is_another_process():
    child = subprocess.Popen(SLEEP)
    host, boot, pid, start = str(ProcessId.of(child.pid)).split("/")

    assert not ProcessId.parse(f"{host}/{boot}/{pid}/{int(start) - 1}").is_alive()
    assert not ProcessId.parse(f"{host}/another boot/{pid}/{start}").is_alive()

    child.kill()
    child.wait()


@pytest.mark.parametrize(
    "text", ["host/boot/12/345", "host/boot/12/345/claiming", "host/-/12/345", "elsewhere/a-name"]
)
def test_the_text_of_a_process_id_is_parsed_to_an_equal_id(text):
    process = ProcessId.parse(text)

    assert str(process) == text
    assert ProcessId.parse(str(process)) == process


def test_a_submitted_process_is_neither_local_nor_alive():
    process = ProcessId.submitted("chromabench-1")

    assert process.is_submitted
    assert not process.is_local
    assert not process.is_alive()


def test_a_tree_is_killed_with_its_grandchildren():
    program = (
        "import subprocess, sys, time;"
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True);"
        "print(c.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    grandchild = ProcessId.of(int(parent.stdout.readline()))

    ProcessId.of(parent.pid).kill_tree()

    parent.wait(timeout=10)
    parent.stdout.close()
    wait_for(lambda: not grandchild.is_alive(), 10)


def test_a_detached_process_writes_its_output_to_its_log(tmp_path):
    command = [sys.executable, "-c", "print('hello')"]

    child = processes.start_detached(command, tmp_path / "folder" / "run.log", {})

    assert child.wait(timeout=10) == 0
    assert (tmp_path / "folder" / "run.log").read_text() == "hello\n"


def test_a_spawned_process_leaves_no_zombie(tmp_path):
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    log = tmp_path / "run.log"

    processes.spawn_detached(command, log, {})

    pid = int(wait_for(lambda: log.is_file() and log.read_text()))
    wait_for(lambda: not psutil.pid_exists(pid))
