"""The commands: `python -m engine COMMAND`.

Exit 0 on success, 1 when the work failed, 2 on bad use; an error is a sentence on stderr. With
`--json`, stdout holds exactly one JSON document. What they do is in `commands`.
"""

import argparse
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeAlias

from engine import weights
from engine.cli import bench, data, maintenance, runs, serving, studies, tools
from engine.data.sources.published import DATA_SETS
from engine.data.sources.registry import KINDS
from engine.errors import BadInputError, EngineError
from engine.presets import BUDGETS, CONFIGURATIONS, DEFAULT_CONFIGURATIONS
from engine.settings import Settings
from engine.tracking import export_requests


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Bad use: exit 2."""
        raise BadInputError(f"{message} (`{self.prog} --help` says more)")


Verbs: TypeAlias = "argparse._SubParsersAction[_Parser]"


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        chosen = build_parser().parse_args(arguments)
        status: int = chosen.run(chosen, Settings.from_environment())
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Who read has enough; nothing may be flushed into the closed pipe at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"error: {error}.\n")
        return 1
    except EngineError as error:
        sys.stderr.write(f"error: {textwrap.shorten(str(error), 800)}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(
            "Left. Runs in the background go on; `python -m engine runs` shows them.\n"
        )
        return 130


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = _Parser(prog="python -m engine", description="Train and compare colorization GANs.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_studies(verbs)
    _add_life(verbs)
    _add_upkeep(verbs)
    _add_data(verbs)
    _add_serving(verbs)
    _add_tools(verbs)
    _add_benches(verbs)
    return parser


def _add_studies(verbs: Verbs) -> None:
    command = _add(verbs, "study", studies.study, "start a comparison", json=True)
    command.add_argument("--data", help=f"a data source: {', '.join(KINDS)}")
    command.add_argument("--budget", help=", ".join(BUDGETS))
    command.add_argument(
        "--configurations",
        help=f"comma-separated, of {', '.join(CONFIGURATIONS)}; "
        f"{','.join(DEFAULT_CONFIGURATIONS)} without a choice",
    )
    command.add_argument("--seeds", type=int, help="runs per configuration, 1 without a choice")
    command.add_argument(
        "--from", dest="repeat", metavar="FILE", help="repeat a study from its results.json"
    )
    command.add_argument("--name", help="what to call the study")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a single value"
    )
    command.add_argument("--wait", action="store_true", help="show progress to the end")
    command.add_argument(
        "--mlflow",
        metavar="URI",
        help=f"record the runs on this MLflow server too; default: {export_requests.VARIABLE}",
    )
    command.add_argument(
        "--extend",
        type=_identity,
        metavar="STUDY",
        help="add configurations, seeds or epochs (--set epochs=N) to a study",
    )

    command = _add(verbs, "runs", studies.runs, "list runs and their states", json=True)
    command.add_argument("--study", type=_identity, help="only this study's")
    command.add_argument("--all", action="store_true", help="archived ones too")
    command = _add(verbs, "supervise", studies.supervise, "work the queue in the foreground")
    command.add_argument("--drain", action="store_true", help="end when the queue is empty")
    command.add_argument("--stay", action="store_true", help="stay, though there be nothing to do")
    command = _add(verbs, "table", studies.table, "the comparison table", json=True)
    command.add_argument("study", type=_identity, metavar="STUDY")
    command.add_argument("--csv", action="store_true", help="as CSV")
    command.add_argument("--markdown", action="store_true", help="as Markdown")
    command = _add(verbs, "evaluate", studies.evaluate, "measure a checkpoint again", json=True)
    command.add_argument("run_id", type=_identity, metavar="RUN")
    command.add_argument("--checkpoint", default="best", help="best, last or a checkpoint file")
    command.add_argument("--split", default="test", choices=("val", "test"))
    command.add_argument(
        "--features",
        default="all",
        choices=("all", "none", "inception", "efficientnet_lite2"),
        help="the networks whose distances are measured",
    )
    command = _add(verbs, "export", studies.export, "write a study to a folder, or to MLflow")
    command.add_argument("study", type=_identity, metavar="STUDY")
    command.add_argument("--out", metavar="DIR", help="the folder to write to")
    command.add_argument("--mlflow", metavar="URI", help="send it to this MLflow server")


def _add_life(verbs: Verbs) -> None:
    for name, run, about in (
        ("cancel", runs.cancel, "stop runs, saved between two steps; again: kill them"),
        ("resume", runs.resume, "continue runs from their newest checkpoint"),
        ("retry", runs.retry, "let runs begin again; what they recorded is removed"),
        ("front", runs.front, "let queued runs be the next"),
        ("archive", runs.archive, "put runs or a study away, out of the lists"),
        ("delete", runs.delete, "remove runs or a study with all their files"),
    ):
        command = _add(verbs, name, run, about)
        command.add_argument("run_ids", type=_identity, metavar="RUN", nargs="*")
        command.add_argument("--study", type=_identity, help="all of a study's")
        if name == "archive":
            command.add_argument("--undo", action="store_true", help="list them again")
        if name in ("retry", "delete"):
            command.add_argument("--yes", action="store_true", help="do not ask")
    about = "start a study like another one"
    command = _add(verbs, "clone", runs.clone, about, json=True)
    command.add_argument("study", type=_identity, metavar="STUDY")
    command.add_argument("--name", help="what to call it")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a single value"
    )
    command.add_argument("--wait", action="store_true", help="show progress to the end")


def _add_upkeep(verbs: Verbs) -> None:
    about = "write everything that cannot be made again into a new folder"
    command = _add(verbs, "backup", maintenance.backup, about)
    command.add_argument("to", metavar="TO", help="the folder")
    command = _add(verbs, "restore", maintenance.restore, "put a backup in place")
    command.add_argument("source", metavar="FROM", help="the folder of a backup")
    command.add_argument("--yes", action="store_true", help="do not ask")
    _add(verbs, "disk", maintenance.disk, "what is on the disk, by study", json=True)
    command = _add(verbs, "prune", maintenance.prune, "make room on the disk", json=True)
    command.add_argument("--study", type=_identity, help="only this study's")
    command.add_argument(
        "--parts", help="what may go: leftovers,data,checkpoints; or samples,optimisers"
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would go")
    command.add_argument("--yes", action="store_true", help="do not ask")


def _add_data(verbs: Verbs) -> None:
    group = verbs.add_parser("data", help="data sources").add_subparsers(
        required=True, metavar="ACTION", parser_class=_Parser
    )
    _add(group, "list", data.list_sources, "the sources", json=True)
    about = "list what is wrong with a source's files"
    command = _add(group, "check", data.check, about, json=True)
    command.add_argument("source", metavar="SOURCE", help=", ".join(KINDS))
    command.add_argument(
        "--clean", action="store_true", help="leave out what is wrong; your files stay as they are"
    )
    command.add_argument("--again", action="store_true", help="look again, whatever is known")
    command.add_argument("--restore", action="store_true", help="take back what was left out")
    command = _add(group, "describe", data.describe, "a source in figures", json=True)
    command.add_argument("source", metavar="SOURCE")
    command = _add(group, "prepare", data.prepare, "pack a source at a size", json=True)
    command.add_argument("source", metavar="SOURCE")
    command.add_argument("--size", type=int, default=BUDGETS["demo"].px, metavar="PX")
    command = _add(group, "fetch", data.fetch, "download a published data set")
    command.add_argument("name", metavar="NAME", help=", ".join(DATA_SETS))
    command.add_argument("--to", metavar="DIR", help="where to; the artifacts folder if not said")


def _add_serving(verbs: Verbs) -> None:
    command = _add(verbs, "serve", serving.serve, "answer pictures with coloured ones over HTTP")
    command.add_argument("--run", dest="run_id", type=_identity, metavar="RUN", help="this model")
    command.add_argument("--study", type=_identity, help="the best model of a study, as of now")
    command.add_argument(
        "--follow",
        type=_identity,
        metavar="STUDY",
        help="the best model of a study, changed when a better run ends; without a choice the "
        "newest study that has a model is followed",
    )
    command.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    command.add_argument("--port", type=int, default=5050, help="0: any (%(default)s)")
    command.add_argument("--device", default="auto", help="cuda, mps or cpu (%(default)s)")
    command.add_argument(
        "--idle", type=float, metavar="SECONDS", help="end when nobody has asked for so long"
    )
    command = _add(verbs, "export-model", serving.export_model, "write a model to a file")
    command.add_argument("run_id", type=_identity, metavar="RUN")
    command.add_argument(
        "--format", default="safetensors", choices=("safetensors", "torchscript", "onnx")
    )
    command.add_argument("--out", metavar="FILE", help="run-N-NAME and its suffix if not said")


def _add_tools(verbs: Verbs) -> None:
    group = verbs.add_parser("weights", help="feature weights").add_subparsers(
        required=True, metavar="ACTION", parser_class=_Parser
    )
    _add(group, "list", tools.weights_list, "what is here and what is missing", json=True)
    command = _add(group, "fetch", tools.weights_fetch, "download weights")
    command.add_argument("name", metavar="NAME", help=", ".join(weights.CATALOG))
    _add(group, "check", tools.weights_check, "verify the files that are here")
    _add(verbs, "doctor", tools.examine, "what the machine has and lacks", json=True)


def _add_benches(verbs: Verbs) -> None:
    group = verbs.add_parser("bench", help="ours against the plain way").add_subparsers(
        required=True, metavar="ACTION", parser_class=_Parser
    )
    about = "our distances and pixel metrics beside well-known libraries'"
    command = _add(group, "metrics", bench.metrics, about, json=True)
    command.add_argument("--rounds", type=int, default=2, help="how often each is timed")
    about = "packing pictures beside bare decoding and scaling"
    command = _add(group, "data", bench.data, about, json=True)
    command.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    about = "on a GPU machine: is training right, how fast is it, how long does study 1 take"
    command = _add(group, "gpu", bench.gpu, about)
    command.add_argument("--out", required=True, metavar="DIR", help="for gpu.md and gpu.json")
    about = "training beside the plain loop: pictures per second, memory, where the time goes"
    command = _add(group, "train", bench.train, about, json=True)
    command.add_argument("--rounds", type=int, default=3, help="how often each takes its turn")
    command.add_argument("--device", default="auto", help="cuda, mps or cpu (default: %(default)s)")
    command.add_argument("--px", type=int, default=64, help="side of the pictures (%(default)s)")
    command.add_argument("--batch", type=int, default=16, help="pictures per step (%(default)s)")
    command.add_argument(
        "--configuration", default="standard", metavar="NAME", help=", ".join(CONFIGURATIONS)
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as for `study`"
    )


def _add(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace, Settings], int],
    about: str,
    json: bool = False,
) -> argparse.ArgumentParser:
    command = verbs.add_parser(name, help=about, description=about)
    command.set_defaults(run=run)
    if json:
        command.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return command


def _identity(text: str) -> int:
    """The number of a study or run."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise argparse.ArgumentTypeError(f"a number from 1 up is meant, not {text[:40]!r}")
    return int(text)
