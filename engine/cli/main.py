"""The entry point of the command line.

The exit status is 0 on success, 1 if the work failed, 2 if the request is invalid and 130 if the
user interrupted the command. An error is one line on stderr. With `--json`, stdout holds exactly
one JSON document.
"""

import io
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Annotated

import typer
import typer.main
from typer.core import TyperGroup

from engine.cli import bench, completion, data, maintenance, results, runs, serving, studies, tools
from engine.cli.help import Command
from engine.errors import EngineError
from engine.settings import PROGRAM, read_version

MAX_ERROR_LENGTH = 800
MAX_HELP_WIDTH = 100

# Plain help texts: they can be copied, and `| less` and narrow terminals show them unchanged.
app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,  # the command `completion` takes the place of Typer's two options
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": MAX_HELP_WIDTH,
    },
)
for module in (studies, results, runs, maintenance, serving, tools, completion):
    app.add_typer(module.app)
for name, group in (("data", data.app), ("weights", tools.weights_app), ("bench", bench.app)):
    app.add_typer(group, name=name)


def _print_version(is_requested: bool) -> None:
    """Prints the name of the program and its version, and exits."""
    if is_requested:
        print(f"chromabench {read_version()}")
        raise typer.Exit


@app.callback()
def chromabench(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Trains, evaluates and compares GANs that colorize sketches and photographs."""


def main(arguments: Sequence[str], program: str = PROGRAM) -> int:
    """Runs a command and returns its exit status.

    Args:
        arguments: the arguments of the command line.
        program: the name under which the user started it, for usage texts.

    Raises:
        SystemExit: the arguments asked for a help text or the version, which has been printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status = _run(arguments, program)
        sys.stdout.flush()
        return status
    except typer.Exit as request:
        sys.exit(request.exit_code)
    except typer.TyperException as error:
        sys.stderr.write(f"error: {_shorten(_usage_message(error, program))}\n")
        return error.exit_code
    except BrokenPipeError:
        # The reader closed the pipe (for example `head`); avoid the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"error: {error}.\n")
        return 1
    except EngineError as error:
        sys.stderr.write(f"error: {_shorten(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"Interrupted. Background runs continue; see `{program} runs`.\n")
        return 130


def build_command() -> TyperGroup:
    """Builds the group of all commands."""
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands if group.typer_instance else ():
            command.cls = Command
    return typer.main.get_group(app)


def _run(arguments: Sequence[str], program: str) -> int:
    command = build_command()
    if request := os.environ.get(completion.VARIABLE):
        return completion.answer_shell(command, request)
    # Not `command.main`, which would turn a closed pipe and Ctrl+C into other exit statuses.
    with command.make_context(program, list(arguments)) as context:
        status: int = command.invoke(context)
        return status


def _usage_message(error: typer.TyperException, program: str) -> str:
    """Returns the message about invalid arguments as one sentence that names the help text."""
    context = getattr(error, "ctx", None)  # the command whose arguments are invalid
    command = program if context is None else context.command_path
    message = error.format_message().replace("Value error, ", "", 1)  # of a value that is no choice
    return f"{message.rstrip('.')} (see `{command} --help`)"


def _shorten(message: str) -> str:
    """Returns a message as one line of limited length."""
    return textwrap.shorten(message, MAX_ERROR_LENGTH)
