import subprocess
import sys

import psutil

from engine.system import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_process_is_alive_until_it_ends_even_unreaped():
    child = subprocess.Popen(SLEEP)
    identity = processes.identify(child.pid)
    assert processes.is_here(identity)
    assert processes.is_alive(identity)

    child.kill()
    psutil.wait_procs([psutil.Process(child.pid)], timeout=0.5)

    assert not processes.is_alive(identity)
    child.wait()
    assert not processes.is_alive(identity)


def test_a_pid_that_came_back_is_another_process():
    child = subprocess.Popen(SLEEP)
    host, boot, pid, start = processes.identify(child.pid).split("/")

    assert not processes.is_alive(f"{host}/{boot}/{pid}/{int(start) - 1}")
    assert not processes.is_alive(f"{host}/another boot/{pid}/{start}")

    child.kill()
    child.wait()


def test_a_tree_is_killed_with_its_grandchildren():
    program = (
        "import subprocess, sys, time;"
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True);"
        "print(c.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    grandchild = processes.identify(int(parent.stdout.readline()))

    processes.kill_tree(processes.identify(parent.pid))

    parent.wait(timeout=10)
    parent.stdout.close()
    psutil.wait_procs([], timeout=0)
    assert not processes.is_alive(grandchild)


def test_a_detached_process_writes_its_output_to_its_log(tmp_path):
    command = [sys.executable, "-c", "print('hello')"]

    child = processes.start_detached(command, tmp_path / "folder" / "run.log", {})

    assert child.wait(timeout=10) == 0
    assert (tmp_path / "folder" / "run.log").read_text() == "hello\n"
