"""The environment variables of this project, and the `.env` file that can contain them.

Each variable is one field of `Variables`: its name, its values, its default and its meaning.
`engine.settings` builds `Settings` from them. The reference of all variables and the warning about
an unknown variable are made from the same fields.

Not here: the paths and limits that other modules use (`engine.settings`).
"""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from engine.errors import BadInputError

FILE_VARIABLE = "CHROMABENCH_ENV_FILE"
PREFIX = "CHROMABENCH"
MAX_SHOWN_LENGTH = 60
MIN_SIMILARITY = 0.8  # of an unknown name to the suggested one; all names have the same beginning

FetchMode: TypeAlias = Literal["auto", "ask", "never"]
LauncherName: TypeAlias = Literal["local", "ray"]
SupervisorPlace: TypeAlias = Literal["here", "elsewhere"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
Section: TypeAlias = Literal["storage", "weights", "security", "cluster", "mlflow"]


@dataclass(frozen=True)
class Kind:
    """Describes the values of a variable.

    Attributes:
        type: the kind of value, for the reference.
        values: the allowed values, for the reference.
        requirement: follows the name of the variable in the message about another value; empty if
            the function that parses the value writes the message.
        is_secret: whether the value is never shown.
    """

    type: str
    values: str
    requirement: str = ""
    is_secret: bool = False


def _choice(choices: Any) -> Kind:  # noqa: ANN401, a `Literal` has no type of its own
    """Describes a variable whose values are those of a `Literal`."""
    *first, last = get_args(choices)
    values = ", ".join(f"`{name}`" for name in get_args(choices))
    return Kind("choice", values, f"is {', '.join(first)} or {last}")


def _parse_folder(text: str) -> Path:
    try:
        folder = Path(text).expanduser().resolve()
        folder.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"must be a folder, not {shown_value(text)} ({error})") from error
    return folder


def _parse_folders(text: str) -> tuple[Path, ...]:
    return tuple(_parse_folder(name) for name in text.split(os.pathsep) if name)


def _require_no_password(address: str) -> str:
    if "@" in address:
        raise ValueError(
            "contains a password, which other users of this machine could read: put it into the "
            "file ~/.netrc instead"
        )
    return address


def _require_length(token: str) -> str:
    if not re.fullmatch(r"[!-~]{16,400}", token):
        raise ValueError(
            f"must be 16 to 400 printable characters without spaces; it has {len(token)}"
        )
    return token


def _require_uri(uri: str) -> str:
    try:
        urlsplit(uri)
    except ValueError as error:
        raise ValueError(
            "must be the address of an MLflow server, such as http://127.0.0.1:5000"
        ) from error
    return uri


# fmt: off
Count = Annotated[int, Field(ge=1, le=9999)]
COUNT = Kind("whole number", "1 to 9999", "must be a whole number from 1 to 9999")
GpuCount = Annotated[int, Field(ge=0, le=999)]
GPU_COUNT = Kind("whole number", "0 to 999", "must be a whole number from 0 to 999")
Address = Annotated[str, Field(pattern=r"^https?://[^\s/]+\S*$")]
ADDRESS = Kind("address", "`http://...`, `https://...`", "must be an http:// or https:// address")
SECRET_ADDRESS = replace(ADDRESS, is_secret=True)
Mirror = Annotated[Address, AfterValidator(_require_no_password)]
Folder = Annotated[Path, BeforeValidator(_parse_folder)]
FOLDER = Kind("folder", "a path")
Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_parse_folders)]
FOLDERS = Kind("folders", f"paths, separated by `{os.pathsep}`")
FILE = Kind("file", "a path")
Token = Annotated[str, AfterValidator(_require_length)]
TOKEN = Kind("text", "16 to 400 printable characters without spaces")
DATABASE = Kind("database address", "`sqlite:///...`, `postgresql://...`")
ServerUri = Annotated[str, AfterValidator(_require_uri)]
SERVER_URI = Kind("MLflow address", "an address that MLflow's client accepts")
TEXT = Kind("text", "any")
# fmt: on


def _variable(
    name: str,
    section: Section,
    meaning: str,
    default_text: str = "none",
    default: str | int | None = None,
) -> Any:  # noqa: ANN401, like pydantic's `Field`
    """Defines a variable.

    Args:
        name: the name of the variable.
        section: the section of the reference that describes the variable.
        meaning: the meaning of the variable, in sentences for the reference.
        default_text: the default, for the reference.
        default: the value of the field if the variable is not set.
    """
    extra: dict[str, Any] = {"section": section, "default_text": default_text}
    return Field(default, alias=name, description=meaning, json_schema_extra=extra)


class Variables(BaseSettings):
    """The values of all environment variables that this project reads.

    A variable that is empty counts as not set.
    """

    model_config = SettingsConfigDict(
        case_sensitive=True,
        env_ignore_empty=True,
        extra="ignore",  # docker compose reads the same file
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: Annotated[str | None, DATABASE] = _variable(
        "CHROMABENCH_DATABASE_URL",
        "storage",
        "Address of the database: SQLite, or PostgreSQL with the extra `postgresql`.",
        "`runs.db` in the data folder",
    )
    artifacts: Annotated[Folder | None, FOLDER] = _variable(
        "CHROMABENCH_ARTIFACTS",
        "storage",
        "Folder for packed data, checkpoints, samples and logs.",
        "`artifacts` in the data folder",
    )
    slots: Annotated[Count | None, COUNT] = _variable(
        "CHROMABENCH_SLOTS",
        "storage",
        "Number of runs that train at the same time.",
        "one per GPU; one without a GPU",
    )
    ranks: Annotated[Count, COUNT] = _variable(
        "CHROMABENCH_RANKS",
        "storage",
        "Number of processes that train one run together, each on its own GPU if there are GPUs. "
        "See [speed](../speed.md).",
        "1",
        1,
    )
    supervisor: Annotated[SupervisorPlace, _choice(SupervisorPlace)] = _variable(
        "CHROMABENCH_SUPERVISOR",
        "storage",
        "`here`: commands and pages start a supervisor on this machine. `elsewhere`: the "
        "supervisor runs on another machine or in another container.",
        "`here`",
        "here",
    )
    webhook: Annotated[Address | None, SECRET_ADDRESS] = _variable(
        "CHROMABENCH_WEBHOOK",
        "storage",
        "Address that receives a JSON document when a study ends. See [pages](../dashboard.md).",
    )
    log_level: Annotated[LogLevel, _choice(LogLevel)] = _variable(
        "CHROMABENCH_LOG_LEVEL",
        "storage",
        "Lowest level of the messages in all logs. See [logs](../jobs.md#logs).",
        "`info`",
        "info",
    )
    env_file: Annotated[Path | None, FILE] = _variable(
        FILE_VARIABLE,
        "storage",
        f"File with variables, read instead of `.env`; `{os.devnull}`: no file. Only in the "
        "environment.",
        "`.env` in the data folder",
    )
    fetch: Annotated[FetchMode, _choice(FetchMode)] = _variable(
        "CHROMABENCH_FETCH",
        "weights",
        "`auto`: runs first download the weights that they use and that are missing. `ask`: the "
        "Launch page offers them, and `--fetch-weights` and `weights fetch` download them. "
        "`never`: nothing is downloaded.",
        "`ask`",
        "ask",
    )
    weights_url: Annotated[Mirror | None, ADDRESS] = _variable(
        "CHROMABENCH_WEIGHTS_URL",
        "weights",
        "Address of a folder with the same file names, such as a mirror behind a firewall, from "
        "which the weights are downloaded. Their hashes are verified all the same.",
        "the addresses of the authors",
    )
    data_roots: Annotated[Folders | None, FOLDERS] = _variable(
        "CHROMABENCH_DATA_ROOTS",
        "security",
        f"Folders from which pages may read pictures; `{os.pathsep}`: none. See "
        "[security](../security.md).",
        "every folder if the dashboard listens on loopback, otherwise none",
    )
    server_token: Annotated[Token | None, TOKEN] = _variable(
        "CHROMABENCH_SERVER_TOKEN",
        "security",
        "Token that the model server requires and that pages send.",
        "none; required beyond loopback",
    )
    server_url: Annotated[Address | None, ADDRESS] = _variable(
        "CHROMABENCH_SERVER_URL",
        "security",
        "Address of the model server that pages use.",
        "the server on this machine",
    )
    launcher: Annotated[LauncherName, _choice(LauncherName)] = _variable(
        "CHROMABENCH_LAUNCHER",
        "cluster",
        "`local`: runs start on this machine. `ray`: runs start on a Ray cluster.",
        "`local`",
        "local",
    )
    ray_address: Annotated[Address, ADDRESS] = _variable(
        "CHROMABENCH_RAY_ADDRESS",
        "cluster",
        "Address of the Ray dashboard, which accepts jobs.",
        "`http://127.0.0.1:8265`",
        "http://127.0.0.1:8265",
    )
    ray_gpus: Annotated[GpuCount | None, GPU_COUNT] = _variable(
        "CHROMABENCH_RAY_GPUS",
        "cluster",
        "Number of GPUs requested for each run; 0 requests one CPU core instead.",
        "the value of `CHROMABENCH_RANKS`",
    )
    mlflow: Annotated[ServerUri | None, SERVER_URI] = _variable(
        "MLFLOW_TRACKING_URI",
        "mlflow",
        "MLflow server to which all new studies are exported.",
    )
    mlflow_username: Annotated[str | None, TEXT] = _variable(
        "MLFLOW_TRACKING_USERNAME",
        "mlflow",
        "User of this server.",
        "the user in `MLFLOW_TRACKING_URI`",
    )
    mlflow_password: Annotated[str | None, TEXT] = _variable(
        "MLFLOW_TRACKING_PASSWORD",
        "mlflow",
        "Password of this server.",
        "the password in `MLFLOW_TRACKING_URI`",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes the environment from the arguments, not from `os.environ`, then the `.env` file."""
        return init_settings, dotenv_settings


# Variables of other programs that this project reads or sets, and those of its containers and
# tests -> the program that reads the variable, and its meaning.
OTHER_VARIABLES = {
    "CHROMABENCH_DATABASE_PASSWORD": "`compose.yaml`: password of the database.",
    "CHROMABENCH_PICTURES": "`compose.yaml`: folder of your own pictures. Default: `./pictures`.",
    "TORCH_INDEX": "`compose.yaml`: package index from which the image installs torch.",
    "CHROMABENCH_REQUIRE_BROWSER": "Tests: fail without Chromium instead of being skipped.",
    "CHROMABENCH_REQUIRE_COMPOSE": "Tests: fail without docker-compose instead of being skipped.",
    "CHROMABENCH_REQUIRE_POSTGRESQL": "Tests: fail without PostgreSQL instead of being skipped.",
    "CHROMABENCH_REQUIRE_SHELLS": "Tests: fail without bash or zsh instead of being skipped.",
    "CHROMABENCH_TEST": "Tests: a value that a child process reports.",
    "CHROMABENCH_TEST_WEIGHTS": "Tests: small files of weights for child processes.",
    "PGPASSWORD": "PostgreSQL's client: password of the database.",
    "TORCH_HOME": "torch: folder of a cache in which feature weights are searched too.",
    "XDG_CACHE_HOME": "torch: folder of `torch` with this cache. Default: `~/.cache`.",
    "XDG_DATA_HOME": "platformdirs: parent of the data folder of an installed wheel, on Linux.",
    "HTTPS_PROXY": "requests: proxy server for downloads, as are `HTTP_PROXY` and `NO_PROXY`.",
    "CUDA_VISIBLE_DEVICES": "CUDA: the GPUs that are used.",
    "RAY_AUTH_MODE": "Ray: set to `token` here, so that a cluster without a token is refused.",
    "DISPLAY": "X11: the dashboard opens a browser only if there is a screen.",
    "WAYLAND_DISPLAY": "Wayland: the dashboard opens a browser only if there is a screen.",
    "PYTHONPATH": "Python: folders of modules, passed on to child processes.",
    "GOMP_SPINCOUNT": "OpenMP: set for child processes, so that idle threads do not slow others.",
    "RANK": "torchrun: number of a process of a run; torchrun sets it.",
    "LOCAL_RANK": "torchrun: number of this process on its machine; torchrun sets it.",
    "WORLD_SIZE": "torchrun: number of the processes of a run; torchrun sets it.",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "MLflow: set to 0, because uploads are repeated later.",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "MLflow: set to 15 s.",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "MLflow: set, so that addresses are not printed.",
}


@dataclass(frozen=True)
class Variable:
    """One variable in the reference.

    Attributes:
        name: the name.
        section: the section of the reference.
        kind: what its values are.
        default: the default, in words.
        meaning: the meaning, in sentences.
    """

    name: str
    section: str
    kind: Kind
    default: str
    meaning: str


@cache
def variables_by_name() -> dict[str, Variable]:
    """Returns the description of each variable that this project reads, by its name."""
    described = {}
    for field in Variables.model_fields.values():
        extra = field.json_schema_extra
        kind = next(entry for entry in field.metadata if isinstance(entry, Kind))
        assert isinstance(extra, dict), "`_variable` defines each field"
        name, section, default = str(field.alias), str(extra["section"]), str(extra["default_text"])
        described[name] = Variable(name, section, kind, default, field.description or "")
    return described


def read_variables(environment: Mapping[str, str], default_file: Path | None) -> Variables:
    """Reads all variables; the environment takes precedence over the file.

    Args:
        environment: the environment of a process.
        default_file: the `.env` file, which need not exist, if no variable names another file;
            None: no file.

    Raises:
        BadInputError: a variable has an invalid value, or a file cannot be read.
    """
    names = variables_by_name()
    values: dict[str, Any] = {name: environment[name] for name in names if environment.get(name)}
    file = find_file(environment, default_file)
    if file is not None:
        _read_names(file)
    try:
        return Variables(**(values | {"_env_file": file}))
    except ValidationError as error:
        details = error.errors()[0]
        name = str(details["loc"][0])
        subject = name if name in values else f"{name} in {file}"
        if details["type"] == "value_error":
            sentence = f"{subject} {details['ctx']['error']}."
        else:
            sentence = f"{subject} {_requirement(names[name].kind, str(details['input']))}."
        raise BadInputError(sentence) from error


def find_ignored_variables(environment: Mapping[str, str], default_file: Path | None) -> list[str]:
    """Returns a sentence about each variable of this project that is ignored.

    An unknown variable is no error: another version of this project may read it.

    Args:
        environment: the environment of a process.
        default_file: see `read_variables`.

    Raises:
        BadInputError: the file cannot be read.
    """
    file = find_file(environment, default_file)
    names = {name: name for name in environment}
    if file is not None:
        names |= {name: f"{name} in {file}" for name in _read_names(file) if name not in names}
    sentences = []
    for name, subject in names.items():
        if name == FILE_VARIABLE and name not in environment:
            sentences.append(f"{subject} is ignored: set it in the environment.")
        elif is_own(name) and name not in variables_by_name():
            similar = difflib.get_close_matches(
                name.upper(), variables_by_name(), n=1, cutoff=MIN_SIMILARITY
            )
            way_out = f"did you mean {similar[0]}?" if similar else "remove it."
            sentences.append(f"{subject} is ignored, because no setting has this name: {way_out}")
    return sentences


def is_own(name: str) -> bool:
    """Returns whether a variable is one of this project, or looks like a misspelt one."""
    is_misspelt = name.upper().startswith(PREFIX) and name not in OTHER_VARIABLES
    return is_misspelt or name in variables_by_name()


def find_file(environment: Mapping[str, str], default_file: Path | None) -> Path | None:
    """Returns the file with variables; None if there is none.

    Args:
        environment: the environment of a process.
        default_file: see `read_variables`.

    Raises:
        BadInputError: the file that a variable names does not exist.
    """
    named = environment.get(FILE_VARIABLE)
    if not named:
        return default_file if default_file is not None and default_file.is_file() else None
    file = Path(named)
    if named != os.devnull and not file.is_file():
        raise BadInputError(
            f"{FILE_VARIABLE} must be a file, not {named!r}; {os.devnull} stands for no file."
        )
    return file


def _read_names(file: Path) -> list[str]:
    """Returns the names of the variables in a file, and checks each line.

    Raises:
        BadInputError: the file or a line of it cannot be read.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"The settings in {file} cannot be read ({error}): make it a readable text file in "
            f"UTF-8, or name another one in {FILE_VARIABLE}."
        ) from error
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            text = binding.original.string
            n_empty = text[: len(text) - len(text.lstrip())].count("\n")
            raise BadInputError(
                f"Line {binding.original.line + n_empty} of {file} cannot be read: write "
                "NAME=value, close each quote, or put a # before the line."
            )
    return [binding.key for binding in bindings if binding.key is not None]


def shown_value(value: str) -> str:
    """Returns the beginning of a value for a message, without a user name and password."""
    return repr(re.sub(r"^.*@", "...@", value, flags=re.DOTALL)[:MAX_SHOWN_LENGTH])


def _requirement(kind: Kind, value: str) -> str:
    """Returns what a value must be and, unless it is secret, what it is."""
    if kind.is_secret:
        return f"{kind.requirement}; its value of {len(value)} characters is not shown"
    return f"{kind.requirement}, not {shown_value(value)}"
