"""Every command of the guides is executed, with a budget that takes seconds."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.settings import PROJECT_ROOT
from tests.support.runs import kill_processes_of
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


def commands(name):
    """Returns the shell blocks of a guide."""
    text = (GUIDES / f"{name}.md").read_text()
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
    yield tmp_path
    kill_processes_of(tiny_settings)


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def execute(block, workdir, **replaced):
    """Runs a block in a shell, with the smoke budget in place of the demo budget."""
    lines = []
    for line in block.splitlines():
        if line.startswith(CHECKED_PREFIXES):
            check(line)
        else:
            lines.append(line)
    script = "\n".join(lines).replace("--budget demo", "--budget smoke")
    for old, new in replaced.items():
        script = script.replace(old.lstrip("_"), new)
    if not script:
        return ""
    result = subprocess.run(
        ["bash", "-e", "-m", "-c", script],
        cwd=workdir,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, f"{script}\n{result.stdout[-1500:]}\n{result.stderr[-1500:]}"
    return result.stdout


def test_every_guide_has_a_test():
    tested = {"first-study", "own-data", "seeds", "serving", "mlflow", "cluster"}

    assert {path.stem for path in GUIDES.glob("*.md")} == tested


def test_the_first_study_guide_runs(workdir):
    for block in commands("first-study"):
        execute(block, workdir)

    assert (workdir / "exports" / "first" / "report.html").is_file()
    assert (workdir / "table.csv").read_text().count("\n") > 3


def test_the_own_data_guide_runs(workdir):
    pictures = workdir / "pictures"
    pictures.mkdir()
    for number in range(90):
        colours = photograph((64, 64), number)
        pair = np.concatenate([drawing(number, (64, 64)), colours], axis=1)
        Image.fromarray(pair).save(pictures / f"{number:03d}.png")
    (pictures / "broken.png").write_bytes(b"no picture")

    for block in commands("own-data"):
        # The check finds the broken file and exits with an error.
        execute(
            block.replace("check sidebyside:pictures\n", "check sidebyside:pictures || true\n"),
            workdir,
        )


def test_the_seeds_guide_runs(workdir):
    for block in commands("seeds"):
        output = execute(block, workdir)

    assert "standard" in output


def test_the_serving_guide_runs_and_writes_its_files(workdir, trained):
    shutil.copytree(trained.pristine / "runs", workdir / "artifacts" / "runs")
    shutil.copy(trained.pristine / "runs.db", workdir / "runs.db")
    (workdir / "cat.png").write_bytes(as_file(drawing(size=(200, 150))))
    port = str(free_port())

    for block in commands("serving"):
        execute(block.replace("timeout 20", "timeout 8"), workdir, _5050=port)

    for name in ("coloured.png", "coloured.webp"):
        assert as_picture((workdir / name).read_bytes()).shape == (150, 200, 3)
    assert "chromabench_requests_total" in (workdir / "metrics.txt").read_text()
    assert {"model.safetensors", "model.pt", "model.onnx"} <= {
        path.name for path in workdir.iterdir()
    }


def test_the_mlflow_guide_runs_and_uploads_a_study(workdir, mlflow_server):
    for block in commands("mlflow"):
        execute(block, workdir, _5000=str(mlflow_server.port))

    experiments = mlflow_server.client.search_experiments(filter_string="name LIKE '%study 1'")
    assert experiments


def test_the_cluster_guide_runs(workdir, ray_cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_cluster.token)
    monkeypatch.setenv("CHROMABENCH_LAUNCHER", "ray")
    monkeypatch.setenv("CHROMABENCH_RAY_ADDRESS", ray_cluster.address)
    monkeypatch.setenv("CHROMABENCH_RAY_GPUS", "0")
    shared, ray = commands("cluster")

    execute(shared.replace("--stay", "--drain"), workdir)
    output = execute(ray + " --wait", workdir)

    assert ray_cluster.address in output  # of the command doctor
    assert "standard" in output
