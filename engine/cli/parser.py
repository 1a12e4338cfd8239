"""The argument parser: every command with its options and help texts."""

import argparse
import re
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from engine import weights
from engine.cli import bench, data, maintenance, runs, serving, studies, tools
from engine.data.sources.published import DATA_SETS
from engine.data.sources.registry import SOURCE_KINDS
from engine.errors import BadInputError
from engine.presets import BUDGETS, CONFIGURATIONS, DEFAULT_CONFIGURATIONS
from engine.settings import PROGRAM, Settings, read_version
from engine.tracking import export_requests


class _Parser(argparse.ArgumentParser):
    """Raises `BadInputError` for invalid arguments instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raises the message of argparse as one sentence."""
        raise BadInputError(f"{message} (see `{self.prog} --help`)")


Subparsers: TypeAlias = "argparse._SubParsersAction[_Parser]"


class _VersionAction(argparse.Action):
    """Prints the version and exits; only this option reads the version."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Prints the name of the program and its version."""
        print(f"chromabench {read_version()}")
        parser.exit()


def build_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Builds the parser of all commands; usage texts begin with the name of the program."""
    parser = _Parser(
        prog=program,
        description="Train, evaluate and compare GANs that colorize sketches and photographs.",
    )
    parser.add_argument(
        "--version", action=_VersionAction, nargs=0, help="show the version and exit"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_studies(commands)
    _add_runs(commands)
    _add_maintenance(commands)
    _add_data(commands)
    _add_serving(commands)
    _add_tools(commands)
    _add_app(commands)
    _add_benchmarks(commands)
    return parser


def _add_studies(commands: Subparsers) -> None:
    command = _add(
        commands, "study", studies.study, "start a study, extend one, or repeat one", json=True
    )
    command.add_argument("--data", help=f"data source: {', '.join(SOURCE_KINDS)}")
    command.add_argument("--budget", help=f"budget: {', '.join(BUDGETS)}")
    command.add_argument(
        "--configurations",
        help=f"comma-separated list of {', '.join(CONFIGURATIONS)} "
        f"(default: {','.join(DEFAULT_CONFIGURATIONS)})",
    )
    command.add_argument("--seeds", type=int, help="number of runs per configuration (default: 1)")
    command.add_argument(
        "--from",
        dest="results_file",
        metavar="FILE",
        help="repeat the study of an exported results.json",
    )
    command.add_argument("--name", help="name of the study (default: data source and budget)")
    _add_set(command)
    _add_fetch_weights(command)
    _add_wait(command)
    command.add_argument(
        "--mlflow",
        metavar="URI",
        help="also export the runs to this MLflow server "
        f"(default: {export_requests.URI_VARIABLE})",
    )
    command.add_argument(
        "--extend",
        type=_parse_id,
        metavar="STUDY",
        help="add configurations, seeds or epochs (--set epochs=N) to this study",
    )

    command = _add(commands, "runs", runs.list_runs, "list runs and their states", json=True)
    command.add_argument("--study", type=_parse_id, help="list only the runs of this study")
    command.add_argument("--all", action="store_true", help="include archived runs")

    command = _add(commands, "table", studies.table, "print the comparison table", json=True)
    command.add_argument("study", type=_parse_id, metavar="STUDY", help="id of the study")
    command.add_argument("--csv", action="store_true", help="print CSV")
    command.add_argument("--markdown", action="store_true", help="print Markdown")

    summary = "evaluate a checkpoint again, or compute the missing metrics of a study"
    command = _add(commands, "evaluate", studies.evaluate, summary, json=True)
    command.add_argument(
        "run_id", type=_parse_id, metavar="RUN", nargs="?", help="id of the run to evaluate again"
    )
    command.add_argument(
        "--study",
        type=_parse_id,
        help="compute in the background the metrics that the evaluations of this study lack, "
        "because weights were missing; stored values never change",
    )
    command.add_argument(
        "--wait",
        action="store_true",
        help="with --study: show progress until all metrics are computed, then print the "
        "comparison table",
    )
    command.add_argument("--checkpoint", help="best, last, or a checkpoint file (default: best)")
    command.add_argument("--split", choices=("val", "test"), help="split (default: test)")
    command.add_argument(
        "--features",
        choices=("all", "none", "inception", "efficientnet_lite2"),
        help="networks whose feature distances are computed (default: all)",
    )

    command = _add(
        commands, "export", studies.export, "write a study to a folder or to an MLflow server"
    )
    command.add_argument("study", type=_parse_id, metavar="STUDY", help="id of the study")
    command.add_argument("--out", metavar="DIR", help="write CSV, figures and the report here")
    command.add_argument("--mlflow", metavar="URI", help="export to this MLflow server")


def _add_runs(commands: Subparsers) -> None:
    for name, run, summary in (
        (
            "cancel",
            runs.cancel,
            "stop runs at the next step, and the evaluation of a study; a second cancel kills them",
        ),
        ("resume", runs.resume, "continue runs from their newest checkpoint"),
        ("retry", runs.retry, "delete the results of runs and start them from the beginning"),
        ("front", runs.front, "move queued runs to the front of the queue"),
        ("archive", runs.archive, "hide runs or a study from the lists"),
        ("delete", runs.delete, "delete runs or a study with all their files"),
    ):
        command = _add(commands, name, run, summary)
        command.add_argument("run_ids", type=_parse_id, metavar="RUN", nargs="*", help="run ids")
        command.add_argument("--study", type=_parse_id, help="all runs of this study")
        if name == "archive":
            command.add_argument("--undo", action="store_true", help="show them in the lists again")
        if name in ("retry", "delete"):
            command.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    summary = "start a study with the settings of another one"
    command = _add(commands, "clone", runs.clone, summary, json=True)
    command.add_argument("study", type=_parse_id, metavar="STUDY", help="id of the study")
    command.add_argument("--name", help="name of the new study")
    _add_set(command)
    _add_fetch_weights(command)
    _add_wait(command)

    command = _add(commands, "supervise", runs.supervise, "run the queue in the foreground")
    command.add_argument("--drain", action="store_true", help="exit when the queue is empty")
    command.add_argument("--stay", action="store_true", help="keep running when the queue is empty")


def _add_maintenance(commands: Subparsers) -> None:
    summary = "back up the database and all irreproducible files to a new folder"
    command = _add(commands, "backup", maintenance.backup, summary)
    command.add_argument("to", metavar="TO", help="folder to create")

    command = _add(commands, "restore", maintenance.restore, "restore a backup")
    command.add_argument("source", metavar="FROM", help="folder of the backup")
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")

    _add(commands, "disk", maintenance.disk, "show disk usage by study", json=True)

    summary = "delete files that are not needed any more"
    command = _add(commands, "prune", maintenance.prune, summary, json=True)
    command.add_argument("--study", type=_parse_id, help="prune only this study")
    command.add_argument(
        "--parts",
        help="comma-separated list of leftovers, data, checkpoints (the default), samples, "
        "optimisers",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show what would be deleted, delete nothing"
    )
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_data(commands: Subparsers) -> None:
    actions = _add_group(commands, "data", "list, check, pack and download data sources")
    _add(actions, "list", data.list_sources, "list data sources", json=True)

    command = _add(
        actions, "check", data.check, "report faults in the files of a source", json=True
    )
    command.add_argument("source", metavar="SOURCE", help=", ".join(SOURCE_KINDS))
    command.add_argument(
        "--clean", action="store_true", help="exclude faulty files; the files are not modified"
    )
    command.add_argument("--again", action="store_true", help="scan again, ignore the stored scan")
    command.add_argument("--restore", action="store_true", help="include all excluded files again")

    summary = "show statistics of a source, split by split"
    command = _add(actions, "describe", data.describe, summary, json=True)
    command.add_argument("source", metavar="SOURCE", help=", ".join(SOURCE_KINDS))

    command = _add(actions, "prepare", data.prepare, "pack a source at one size", json=True)
    command.add_argument("source", metavar="SOURCE", help=", ".join(SOURCE_KINDS))
    command.add_argument(
        "--size",
        type=int,
        default=BUDGETS["demo"].px,
        metavar="PX",
        help="height and width in pixels (default: %(default)s)",
    )

    command = _add(actions, "fetch", data.fetch, "download a published data set")
    command.add_argument("name", metavar="NAME", help=", ".join(DATA_SETS))
    command.add_argument(
        "--to", metavar="DIR", help="target folder (default: in the artifacts folder)"
    )


def _add_serving(commands: Subparsers) -> None:
    summary = "start an HTTP server that colorizes images"
    command = _add(commands, "serve", serving.serve, summary)
    command.add_argument(
        "--run", dest="run_id", type=_parse_id, metavar="RUN", help="serve the model of this run"
    )
    command.add_argument(
        "--study", type=_parse_id, help="serve the model that is the best of this study now"
    )
    command.add_argument(
        "--follow",
        type=_parse_id,
        metavar="STUDY",
        help="serve the best model of this study and switch when a better run ends "
        "(default: the newest study with a model)",
    )
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    command.add_argument(
        "--port", type=int, default=5050, help="port; 0 takes a free one (default: %(default)s)"
    )
    command.add_argument(
        "--device", default="auto", help="cuda, mps, cpu or auto (default: %(default)s)"
    )
    command.add_argument(
        "--idle",
        type=float,
        metavar="SECONDS",
        help="exit after this many seconds without a request",
    )

    summary = "export a generator and verify its outputs"
    command = _add(commands, "export-model", serving.export_model, summary)
    command.add_argument("run_id", type=_parse_id, metavar="RUN", help="id of the run")
    command.add_argument(
        "--format",
        default="safetensors",
        choices=("safetensors", "torchscript", "onnx"),
        help="file format (default: %(default)s)",
    )
    command.add_argument(
        "--out", metavar="FILE", help="target file (default: run-N-CONFIGURATION and the suffix)"
    )


def _add_tools(commands: Subparsers) -> None:
    actions = _add_group(commands, "weights", "list, download and verify feature weights")
    _add(actions, "list", tools.list_weights, "list feature weights and their purpose", json=True)
    command = _add(actions, "fetch", tools.fetch_weights, "download feature weights")
    command.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help=f"{', '.join(weights.CATALOG)}, or {tools.ALL}; an interrupted download continues",
    )
    _add(actions, "check", tools.check_weights, "verify the hashes of the feature weights")

    summary = "check the machine and the installation"
    _add(commands, "doctor", tools.run_doctor, summary, json=True)


def _add_app(commands: Subparsers) -> None:
    command = _add(commands, "app", tools.open_app, "open the dashboard in the browser")
    command.add_argument("--port", default="8501", help="port number (default: %(default)s)")
    command.add_argument(
        "--address",
        default="127.0.0.1",
        help="IP address to listen on; others than the default admit other machines "
        "(default: %(default)s)",
    )
    command.add_argument("--headless", action="store_true", help="do not open a browser")


def _add_benchmarks(commands: Subparsers) -> None:
    actions = _add_group(commands, "bench", "measure speed beside plain implementations")
    summary = "time metrics beside well-known libraries"
    command = _add(actions, "metrics", bench.metrics, summary, json=True)
    command.add_argument("--rounds", type=int, default=2, help=ROUNDS_HELP)

    summary = "time the packing of images beside decoding and resizing with Pillow"
    command = _add(actions, "data", bench.data, summary, json=True)
    command.add_argument("--rounds", type=int, default=3, help=ROUNDS_HELP)

    summary = "check and measure training on this machine's GPU"
    command = _add(actions, "gpu", bench.gpu, summary)
    command.add_argument(
        "--out", required=True, metavar="DIR", help="folder for gpu.md and gpu.json"
    )

    summary = "measure training speed and memory beside a plain loop"
    command = _add(actions, "train", bench.train, summary, json=True)
    command.add_argument("--rounds", type=int, default=3, help=ROUNDS_HELP)
    command.add_argument(
        "--device", default="auto", help="cuda, mps, cpu or auto (default: %(default)s)"
    )
    command.add_argument(
        "--px", type=int, default=64, help="height and width in pixels (default: %(default)s)"
    )
    command.add_argument(
        "--batch", type=int, default=16, help="pictures per step (default: %(default)s)"
    )
    command.add_argument(
        "--configuration",
        default="standard",
        metavar="NAME",
        help=f"{', '.join(CONFIGURATIONS)} (default: %(default)s)",
    )
    _add_set(command)


ROUNDS_HELP = "number of timed rounds (default: %(default)s)"


def _add_group(commands: Subparsers, name: str, summary: str) -> Subparsers:
    group = commands.add_parser(name, help=summary, description=_sentence(summary))
    return group.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser)


def _add(
    commands: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace, Settings], int],
    summary: str,
    json: bool = False,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=_sentence(summary))
    command.set_defaults(run=run)
    if json:
        command.add_argument("--json", action="store_true", help="print one JSON document")
    return command


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting"
    )


def _add_fetch_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--fetch-weights",
        action="store_true",
        help="first download the feature weights that the study uses and that are missing",
    )


def _add_wait(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        action="store_true",
        help="show progress until all runs have ended, then print the comparison table",
    )


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


def _parse_id(text: str) -> int:
    """Parses the id of a study or run."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, not {text[:40]!r}")
    return int(text)
