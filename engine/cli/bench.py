"""Commands bench metrics, data, train and gpu."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.table import Table

from engine.bench.race import Speed, Timing
from engine.cli import completion
from engine.cli.inputs import (
    DeviceName,
    JsonFlag,
    SettingTexts,
    load_settings,
    parse_path,
    parse_whole_number,
    stderr,
)
from engine.config import RunConfig
from engine.errors import BadInputError
from engine.jobs.planning import resolve_weights
from engine.overrides import apply_settings, parse_settings
from engine.presets import BUDGETS, CONFIGURATIONS, get_configurations

# From this size on, `bench train` uses the network width of the budget `study1`; for smaller
# pictures it uses the network width of the budget `demo`.
MIN_STUDY1_PX = 192
MAX_ROUNDS = 100

app = typer.Typer(help="Measures speed beside plain implementations.")

Rounds: TypeAlias = Annotated[
    int,
    typer.Option(
        "--rounds",
        metavar="N",
        help=f"Number of timed rounds, from 1 to {MAX_ROUNDS}.",
        parser=parse_whole_number,
    ),
]


@app.command("metrics")
def race_metrics(rounds: Rounds = 2, as_json: JsonFlag = False) -> int:
    """Times metrics beside well-known libraries."""
    from engine.bench import metrics

    return _race(rounds, as_json, metrics.run)


@app.command("data")
def race_data(rounds: Rounds = 3, as_json: JsonFlag = False) -> int:
    """Times the packing of images beside decoding and resizing with Pillow."""
    from engine.bench import data

    return _race(rounds, as_json, data.run)


@app.command("train")
def measure_training(
    rounds: Rounds = 3,
    device: DeviceName = "auto",
    px: Annotated[
        int,
        typer.Option(metavar="PX", help="Height and width in pixels.", parser=parse_whole_number),
    ] = 64,
    batch: Annotated[
        int, typer.Option(metavar="N", help="Pictures per step.", parser=parse_whole_number)
    ] = 16,
    configuration: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"Configuration: {', '.join(CONFIGURATIONS)}.",
            autocompletion=completion.complete_configuration,
        ),
    ] = "standard",
    setting_texts: SettingTexts = None,
    as_json: JsonFlag = False,
) -> int:
    """Measures training speed and memory beside a plain loop."""
    (measured_configuration,) = get_configurations([configuration])
    options = {
        "px": str(px),
        "batch": str(batch),
        "base_channels": str(BUDGETS["study1" if px >= MIN_STUDY1_PX else "demo"].base_channels),
        "device": device,
        "epochs": "60",  # long enough that `auto` chooses settings that need a warm-up
    }
    config = RunConfig(data="made-up", configuration=measured_configuration, budget=BUDGETS["demo"])
    config = apply_settings(config, {**options, **parse_settings(setting_texts or ())})
    settings = load_settings()
    config = resolve_weights(config, settings)
    from engine.bench import training

    task = training.Task(config, settings, _check_rounds(rounds), training.ROUND_S)
    with stderr.status("measuring") as status:
        speeds = training.run(task, status.update)
    if as_json:
        print(json.dumps(training.as_json(task, speeds), indent=2))
    else:
        _print_speeds(Console(), speeds)
    return 0


@app.command("gpu")
def check_gpu(
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for gpu.md and gpu.json.")],
) -> int:
    """Checks and measures training on the GPU of this machine."""
    from engine.bench import gpu

    folder = parse_path(out, "--out")
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"--out must name a folder; {folder} is a file.")
    settings = load_settings()
    settings.require_writable_artifacts()
    with stderr.status("measuring") as status:
        result = gpu.run(folder, settings, status.update)
    print((folder / "gpu.md").read_text(encoding="utf-8"))
    return 0 if result.all_checks_passed else 1


def _race(
    rounds: int, as_json: bool, run: Callable[[int, Callable[[str], None]], list[Timing]]
) -> int:
    _check_rounds(rounds)
    load_settings()  # refuses an invalid variable before a measurement of minutes
    with stderr.status("measuring") as status:
        timings = run(rounds, status.update)
    if as_json:
        print(
            json.dumps([{**vars(timing), "median": timing.median} for timing in timings], indent=2)
        )
    else:
        _print_timings(Console(), timings)
    return 0


def _check_rounds(rounds: int) -> int:
    if not 1 <= rounds <= MAX_ROUNDS:
        raise BadInputError(f"--rounds must be from 1 to {MAX_ROUNDS}, not {rounds}.")
    return rounds


def _print_timings(console: Console, timings: Sequence[Timing]) -> None:
    """Prints one task per row and one contender per column, with the time relative to ours."""
    contenders = list(dict.fromkeys(timing.contender for timing in timings))
    table = Table(box=None, header_style="bold")
    table.add_column("seconds, median")
    for contender in contenders:
        table.add_column(contender, justify="right")
    for task in dict.fromkeys(timing.task for timing in timings):
        of_task = {timing.contender: timing for timing in timings if timing.task == task}
        cells = [
            _timing_cell(of_task[contender], of_task["ours"]) if contender in of_task else "—"
            for contender in contenders
        ]
        table.add_row(task, *cells)
    console.print(table)


def _timing_cell(timing: Timing, ours: Timing) -> str:
    text = f"{timing.median:.3f}"
    if timing is not ours:
        text += f" ({timing.median / ours.median:.1f}x)"
    return text if timing.error is None else f"{text}\n[dim]error {timing.error:.0e}[/]"


def _print_speeds(console: Console, speeds: Sequence[Speed]) -> None:
    """Prints one contender per row, then the share of each part of our training step."""
    ours, *_ = speeds
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for heading in ("pictures/s", "least to most", "ours is", "peak memory", "of the limit"):
        table.add_column(heading, justify="right")
    for speed in speeds:
        table.add_row(
            speed.contender,
            f"{speed.median:,.1f}",
            f"{min(speed.rounds):,.1f} to {max(speed.rounds):,.1f}",
            "" if speed is ours else f"{ours.median / speed.median:.2f}x",
            f"{speed.peak_memory_mb:,.0f} MB",
            f"{speed.share:.0%}",
        )
    console.print(table)
    parts = ", ".join(f"{part} {share:.1%}" for part, share in (ours.split or {}).items())
    console.print(f"\nA training step of ours: {parts}.", highlight=False)
    console.print(
        f"Limit: {ours.limit_tflops:.3g} TFLOP/s, measured with a matrix product.", highlight=False
    )
