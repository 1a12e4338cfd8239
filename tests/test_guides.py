"""Every command of the guides is executed, on a budget of seconds."""

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
from tests.conftest import end_processes_of
from tests.engine.serve.conftest import as_file, as_picture, drawing, photograph

pytestmark = pytest.mark.slow

GUIDES = PROJECT_ROOT / "docs" / "guides"
PATIENCE_S = 300
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What would set this machine up, or needs others, is looked at and not done.
LOOKED_AT = ("make ", "pip install ", "ray ", "RAY_AUTH_MODE=token ray ", "export ", ". .venv/")


def commands(name):
    """The commands of a guide, block by block."""
    text = (GUIDES / f"{name}.md").read_text()
    return [block.strip() for block in BLOCK.findall(text)]


def look_at(line):
    """Whether what is not executed could be."""
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
def place(tiny_settings, tmp_path, monkeypatch):
    """A folder with an installation of its own, as a reader would sit in; then all of it ends."""
    for name in ("DATABASE_URL", "ARTIFACTS", "SLOTS", "SERVER_TOKEN"):
        monkeypatch.delenv(f"CHROMABENCH_{name}", raising=False)
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", tiny_settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(tiny_settings.artifacts))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    yield tmp_path
    end_processes_of(tiny_settings)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def execute(block, place, **replaced):
    """Runs a block as a person would paste it, small enough for a test."""
    lines = []
    for line in block.splitlines():
        if line.startswith(LOOKED_AT):
            look_at(line)
        else:
            lines.append(line)
    script = "\n".join(lines).replace("--budget demo", "--budget smoke")
    for old, new in replaced.items():
        script = script.replace(old.lstrip("_"), new)
    if not script:
        return ""
    done = subprocess.run(
        ["bash", "-e", "-m", "-c", script],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done.stdout


def test_every_guide_is_among_these_tests():
    tested = {"first-study", "own-data", "seeds", "serving", "mlflow", "cluster"}

    assert {path.stem for path in GUIDES.glob("*.md")} == tested


def test_first_study(place):
    for block in commands("first-study"):
        execute(block, place)

    assert (place / "exports" / "first" / "report.html").is_file()
    assert (place / "table.csv").read_text().count("\n") > 3


def test_own_data(place):
    folder = place / "pictures"
    folder.mkdir()
    for number in range(90):
        colours = photograph((64, 64), number)
        pair = np.concatenate([drawing(number, (64, 64)), colours], axis=1)
        Image.fromarray(pair).save(folder / f"{number:03d}.png")
    (folder / "broken.png").write_bytes(b"no picture")

    for block in commands("own-data"):
        execute(
            block.replace("check sidebyside:pictures\n", "check sidebyside:pictures || true\n"),
            place,
        )


def test_seeds(place):
    for block in commands("seeds"):
        said = execute(block, place)

    assert "standard" in said


def test_serving(place, trained):
    shutil.copytree(trained.pristine / "runs", place / "artifacts" / "runs")
    shutil.copy(trained.pristine / "runs.db", place / "runs.db")
    (place / "cat.png").write_bytes(as_file(drawing(size=(200, 150))))
    port = str(free_port())

    for block in commands("serving"):
        execute(block.replace("timeout 20", "timeout 8"), place, _5050=port)

    for name in ("coloured.png", "coloured.webp"):
        assert as_picture((place / name).read_bytes()).shape == (150, 200, 3)
    assert "chromabench_requests_total" in (place / "metrics.txt").read_text()
    assert {"model.safetensors", "model.pt", "model.onnx"} <= {it.name for it in place.iterdir()}


def test_mlflow(place, mlflow_server):
    for block in commands("mlflow"):
        execute(block, place, _5000=str(mlflow_server.port))

    experiments = mlflow_server.client.search_experiments(filter_string="name LIKE '%study 1'")
    assert experiments


def test_cluster(place, ray_cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_cluster.token)
    monkeypatch.setenv("CHROMABENCH_LAUNCHER", "ray")
    monkeypatch.setenv("CHROMABENCH_RAY_ADDRESS", ray_cluster.address)
    monkeypatch.setenv("CHROMABENCH_RAY_GPUS", "0")
    shared, ray = commands("cluster")

    execute(shared.replace("--stay", "--drain"), place)
    said = execute(ray + " --wait", place)

    assert ray_cluster.address in said  # the doctor
    assert "standard" in said
