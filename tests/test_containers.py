"""The container image and its services, as far as they can be tested without a container engine."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import psutil
import pytest
import yaml

from dashboard import __main__ as dashboard
from engine.cli.main import main
from engine.settings import PROJECT_ROOT
from engine.store import check_address
from scripts import lock
from tests.support.runs import wait_for

DOCKERFILE = (PROJECT_ROOT / "Dockerfile").read_text()
COMPOSE = (PROJECT_ROOT / "compose.yaml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
OWN_SERVICES = [name for name, service in SERVICES.items() if service["image"] == "chromabench"]
FILES = {"plain": ["compose.yaml"], "gpu": ["compose.yaml", "compose.gpu.yaml"]}
DATABASE_PASSWORD, SERVER_TOKEN = "CHROMABENCH_DATABASE_PASSWORD", "CHROMABENCH_SERVER_TOKEN"
SECRETS = {DATABASE_PASSWORD: "secret", SERVER_TOKEN: "0123456789abcdef"}
USER = 10001
TIMEOUT_S = 20
FAKE_PYTHON = """#!/bin/sh
setsid sh -c 'trap "sleep 0.5; echo saved >> $LOG; exit" TERM
echo trains >> $LOG; while :; do sleep 0.1; done' &
while :; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def compose(tmp_path_factory):
    """Runs `docker-compose config` with some files and variables; skips if it is not installed."""
    tool = shutil.which("docker-compose")
    if tool is None:
        if os.environ.get("CHROMABENCH_REQUIRE_COMPOSE"):
            pytest.fail("docker-compose is required here and not installed")
        pytest.skip("docker-compose is not installed: `apt-get install docker-compose`")
    variables = tmp_path_factory.mktemp("compose") / "env"

    def config(files, secrets):
        variables.write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
        options = [part for name in files for part in ("-f", PROJECT_ROOT / name)]
        command = [tool, "--env-file", variables, *options, "config"]
        clean = {"PATH": os.environ["PATH"]}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=clean)

    return config


def services_of(result):
    assert result.returncode == 0, result.stderr
    return yaml.safe_load(result.stdout)["services"]


@pytest.mark.slow
def test_both_compose_configurations_are_valid_and_differ_only_in_the_gpu(compose):
    plain, gpu = (services_of(compose(files, SECRETS)) for files in FILES.values())

    reserved = gpu["supervisor"].pop("deploy")["resources"]["reservations"]["devices"]

    assert reserved == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert gpu == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", SECRETS)
def test_without_a_secret_nothing_starts_and_the_message_has_the_command(compose, name):
    refused = compose(FILES["plain"], {**SECRETS, name: ""})

    assert refused.returncode != 0
    assert f"{name}" in refused.stderr
    assert "is missing in .env (openssl rand -hex 32)" in refused.stderr


def commands():
    """Yields (module, arguments) of every `python -m ...` in the files."""
    service_commands = [SERVICES[name]["command"] for name in OWN_SERVICES]
    image_command = yaml.safe_load(re.findall(r"^CMD (.*)", DOCKERFILE, re.MULTILINE)[-1])
    for command in [*service_commands, image_command]:
        text = shlex.join(command) if command[0] == "python" else command[-1]
        for module, arguments in re.findall(r"python -m (engine|dashboard)\b(.*)", text):
            yield module, tuple(shlex.split(arguments.partition("&")[0]))


def test_every_own_service_has_a_command():
    assert sorted({module for module, _ in commands()}) == ["dashboard", "engine"]
    assert len(list(commands())) == len(OWN_SERVICES) + 1


@pytest.mark.parametrize(
    "arguments", [arguments for module, arguments in commands() if module == "engine"]
)
def test_engine_commands_are_valid(arguments):
    with pytest.raises(SystemExit) as exit_request:
        main([*arguments, "--help"])  # checks the names of the command and of its options first

    assert exit_request.value.code == 0


@pytest.mark.parametrize(
    "arguments", sorted({options for module, options in commands() if module == "dashboard"})
)
def test_dashboard_commands_are_valid(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dashboard", "--help"])
    with pytest.raises(SystemExit):
        dashboard.main()
    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out))

    assert {argument for argument in arguments if argument.startswith("--")} <= options
    assert "--headless" in arguments


def test_ports_are_published_on_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert not any("network_mode" in service for service in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_is_root_or_can_become_root(name):
    service = SERVICES[name]

    assert service["user"].partition(":")[0] not in ("root", "0")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"]
    assert not {"privileged", "cap_add", "pid", "devices"} & service.keys()


def test_the_image_has_the_user_that_the_services_run_as():
    image_user = re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE)[-1]

    assert image_user == f"{USER}:{USER}"
    assert {SERVICES[name]["user"] for name in OWN_SERVICES} == {image_user}
    assert f"--uid {USER}" in DOCKERFILE


def test_only_the_supervisors_container_starts_runs():
    for name in OWN_SERVICES:
        supervisor = SERVICES[name]["environment"].get("CHROMABENCH_SUPERVISOR")
        assert (supervisor == "elsewhere") == (name != "supervisor")
    assert [name for name in SERVICES if "hostname" in SERVICES[name]] == ["supervisor"]


def test_the_services_share_one_database_and_one_folder():
    variables = ("CHROMABENCH_DATABASE_URL", "CHROMABENCH_ARTIFACTS")
    values = {
        tuple(SERVICES[name]["environment"][variable] for variable in variables)
        for name in OWN_SERVICES
    }

    [(address, artifacts)] = values
    assert check_address(address) == "postgresql"
    assert all(f"data:{artifacts}" in SERVICES[name]["volumes"] for name in OWN_SERVICES)
    assert f"VOLUME {artifacts}\n" in DOCKERFILE


def test_the_image_installs_the_app_and_its_extras_from_the_lock():
    packages = lock.parse_lock(lock.LOCK.read_text())
    extras = re.findall(r'^ARG EXTRAS="(.*)"', DOCKERFILE, re.MULTILINE)[0].split()
    installs = re.findall(r"pip install (?:[^\\&\n]|\\\n)+", DOCKERFILE)

    assert extras
    assert lock.select_layers(packages, ["torch", "app", *extras])
    assert re.findall(r"lock\.py (pins|select) ([a-z ]+)", DOCKERFILE) == [
        ("pins", "torch torchvision "),
        ("select", "torch "),
        ("select", "app "),
    ]
    assert len(installs) == 3
    assert all("--no-deps" in command for command in installs)
    assert ["--require-hashes" in command for command in installs] == [False, True, False]


def test_the_build_context_has_only_the_files_that_the_image_copies():
    copy_lines = re.findall(r"^COPY (?!--from)(.*) \S+", DOCKERFILE, re.MULTILINE)
    copied = {name for line in copy_lines for name in line.split()}
    lines = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()

    assert all((PROJECT_ROOT / name).exists() for name in copied)
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert lines.index("*") < lines.index("**/secrets.toml")


def test_every_variable_is_documented():
    text = (PROJECT_ROOT / "docs" / "deployment.md").read_text()
    variables = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))
    for name in OWN_SERVICES:
        variables |= {key for key, value in SERVICES[name]["environment"].items() if value is None}

    assert SECRETS.keys() <= variables
    assert all(f"`{name}`" in text for name in variables)


@pytest.fixture
def start_container():
    """Starts a shell script as process 1 of a new process namespace, like a container."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    unshare += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("process namespaces are not available")
    started = []

    def start(script, environment):
        # Outside a new namespace the script could kill other processes.
        command = [*unshare, "sh", "-c", f"[ $$ = 1 ] || exit 9\n{script}"]
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    yield start
    for container in started:
        container.kill()
        container.wait()


@pytest.mark.slow
def test_a_stopped_supervisor_waits_until_its_runs_have_saved(start_container, tmp_path):
    # A fake engine: its run is detached and needs some time to save.
    log, python = tmp_path / "log", tmp_path / "python"
    log.touch()
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    script = SERVICES["supervisor"]["command"][-1].replace("$$", "$")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}

    container = start_container(script, environment)
    wait_for(lambda: log.read_text() == "trains\n", TIMEOUT_S)
    [first] = psutil.Process(container.pid).children()
    first.terminate()
    container.wait(TIMEOUT_S)

    assert log.read_text() == "trains\nsaved\n"
