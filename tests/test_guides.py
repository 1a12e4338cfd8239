"""Every command of the guides is executed, with a budget that takes seconds.

The first guide is executed in a shell. Commands of other guides are executed in this process, which
starts no interpreter for them, unless they need a shell or a cluster. Runs are trained in this
process, too: `tests.test_first_study` trains one with a supervisor and a worker.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.cli.main import main
from engine.jobs import spawn
from engine.settings import PROJECT_ROOT
from engine.store import Store, utc_now
from engine.workers.export import export_study
from engine.workers.worker_process import run_job
from tests.support.runs import kill_processes_of
from tests.support.training_jobs import run_training_job
from tests.support.uploads import as_file, as_picture, drawing, photograph

pytestmark = pytest.mark.slow

GUIDES = PROJECT_ROOT / "docs" / "guides"
TIMEOUT_S = 300
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Commands that install something or need other machines: they are checked, not executed.
CHECKED_PREFIXES = (
    "make ",
    "pip install ",
    "ray ",
    "RAY_AUTH_MODE=token ray ",
    "export ",
    ". .venv/",
)


ENGINE = "python -m engine "
SMALLEST = "--budget smoke --set threads=1 --set precision=fp32 --configurations standard"
# Command of a guide -> the same command with less work.
SMALLER = {
    "--budget demo --seeds 3": SMALLEST,
    "--budget demo --configurations standard,regularized --seeds 3": f"{SMALLEST},regularized",
    "--seeds 4": "--seeds 2",
    "--budget demo": SMALLEST,
}


def commands(name):
    """Returns the shell blocks of a guide, with smaller studies."""
    text = (GUIDES / f"{name}.md").read_text()
    for command, smaller in SMALLER.items():
        text = text.replace(command, smaller)
    return [block.strip() for block in BLOCK.findall(text)]


def check(line):
    """Checks that a command which is not executed is valid."""
    line = line.partition(" #")[0].strip()
    if line.startswith("make "):
        subprocess.run(["make", "-n", *line.split()[1:]], cwd=PROJECT_ROOT, check=True)
    elif line.startswith("pip install "):
        project = (PROJECT_ROOT / "pyproject.toml").read_text()
        for extra in re.search(r"\[([a-z,]+)\]", line).group(1).split(","):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
    elif line.startswith(("ray ", "RAY_AUTH_MODE=token ray ")):
        from ray.scripts.scripts import cli

        words = line.removeprefix("RAY_AUTH_MODE=token ").split()[1:]
        command = cli.get_command(None, words[0])
        assert command is not None, words
        command.make_context(words[0], words[1:], resilient_parsing=False)


@pytest.fixture
def workdir(tiny_settings, tmp_path, monkeypatch):
    """A working folder with an installation of its own; its processes are killed after the test."""
    for name in ("DATABASE_URL", "ARTIFACTS", "SLOTS", "SERVER_TOKEN"):
        monkeypatch.delenv(f"CHROMABENCH_{name}", raising=False)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    kill_processes_of(tiny_settings)


@pytest.fixture
def training_here(tiny_settings):
    """Trains and exports in this process, in place of a supervisor and its workers."""
    should_stop = threading.Event()

    def train():
        with closing(Store(tiny_settings.database_url)) as store:
            while not should_stop.is_set():
                store.exports.queue_due(utc_now())
                if (job := store.jobs.claim(utc_now())) is not None:
                    run_training_job(store, tiny_settings, job, should_stop.is_set)
                elif (job := store.jobs.claim(utc_now(), "export")) is not None:
                    run_job(store, tiny_settings, job, should_stop.is_set, export_study)
                else:
                    should_stop.wait(0.05)

    thread = threading.Thread(target=train)
    with spawn.supervisor_lock(tiny_settings):
        thread.start()
        yield
        should_stop.set()
        thread.join()


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def executable_lines(block):
    """Checks the commands that are not executed, and returns the others."""
    lines = []
    for line in block.splitlines():
        if line.startswith(CHECKED_PREFIXES):
            check(line)
        else:
            lines.append(line)
    return lines


def execute(block):
    """Executes a block in a shell; returns its output."""
    script = "\n".join(executable_lines(block))
    result = subprocess.run(
        ["bash", "-e", "-m", "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, f"{script}\n{result.stdout[-1500:]}\n{result.stderr[-1500:]}"
    return result.stdout


def execute_here(block):
    """Executes the commands of a block, which need no shell, in this process."""
    for line in executable_lines(block):
        assert line.startswith(ENGINE)
        assert main(shlex.split(line.removeprefix(ENGINE))) == 0, line


def test_every_guide_has_a_test():
    tested = {"first-study", "own-data", "seeds", "serving", "mlflow", "cluster"}

    assert {path.stem for path in GUIDES.glob("*.md")} == tested


def test_the_first_study_guide_runs(workdir, training_here):
    for block in commands("first-study"):
        execute(block)

    assert (workdir / "exports" / "first" / "report.html").is_file()
    assert (workdir / "table.csv").read_text().count("\n") == 2


def test_the_own_data_guide_runs(workdir, training_here, capsys):
    pictures = workdir / "pictures"
    pictures.mkdir()
    for number in range(90):
        colours = photograph((64, 64), number)
        pair = np.concatenate([drawing(number, (64, 64)), colours], axis=1)
        Image.fromarray(pair).save(pictures / f"{number:03d}.png")
    (pictures / "broken.png").write_bytes(b"no picture")

    for block in commands("own-data"):
        execute_here(block)

    printed = capsys.readouterr().out
    assert "broken.png: its content is no picture" in printed
    assert printed.count("my drawings") == 1  # the heading of the table


def test_the_seeds_guide_runs(workdir, training_here, capsys):
    for block in commands("seeds"):
        execute_here(block)

    printed = capsys.readouterr().out
    assert "standard: 2 seeds, epoch 1." in printed
    assert "regularized: 2 seeds, epoch 1." in printed


def test_the_serving_guide_runs_and_writes_its_files(workdir, pristine):
    shutil.copytree(pristine / "runs", workdir / "artifacts" / "runs")
    shutil.copy(pristine / "runs.db", workdir / "runs.db")
    (workdir / "cat.png").write_bytes(as_file(drawing(size=(200, 150))))
    port = str(free_port())

    local, beyond_this_machine, export = commands("serving")
    execute(local.replace("5050", port))
    # The server is stopped as soon as it answers.
    beyond_this_machine = beyond_this_machine.replace("timeout 20 ", "").replace("|| true", "&")
    answer = f"curl --retry 60 --retry-all-errors --retry-delay 1 -sf localhost:{port}/healthz"
    execute(f"{beyond_this_machine}\n{answer}\nkill %1".replace("5050", port))
    execute_here(export)

    for name in ("coloured.png", "coloured.webp"):
        assert as_picture((workdir / name).read_bytes()).shape == (150, 200, 3)
    assert "chromabench_requests_total" in (workdir / "metrics.txt").read_text()
    assert {"model.safetensors", "model.pt", "model.onnx"} <= {
        path.name for path in workdir.iterdir()
    }


@pytest.mark.xdist_group("mlflow")
def test_the_mlflow_guide_runs_and_uploads_a_study(workdir, training_here, mlflow_server):
    for block in commands("mlflow"):
        execute_here(block.replace("5000", str(mlflow_server.port)))

    experiments = mlflow_server.client.search_experiments(filter_string="name LIKE '%study 1'")
    assert experiments


@pytest.mark.xdist_group("ray")
def test_the_cluster_guide_runs(workdir, ray_cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_cluster.token)
    monkeypatch.setenv("CHROMABENCH_LAUNCHER", "ray")
    monkeypatch.setenv("CHROMABENCH_RAY_ADDRESS", ray_cluster.address)
    monkeypatch.setenv("CHROMABENCH_RAY_GPUS", "0")
    shared, ray = commands("cluster")

    execute(shared.replace("--stay", "--drain"))
    output = execute(ray + " --wait")

    assert ray_cluster.address in output  # of the command doctor
    assert "standard" in output
