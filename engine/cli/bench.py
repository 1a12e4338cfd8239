"""The commands that measure: ours against the plain way, side by side."""

import argparse
import json
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from engine.cli.inputs import read_path, stderr
from engine.config import RunConfig
from engine.errors import BadInputError
from engine.jobs.planning import choose_weights
from engine.overrides import apply_settings, parse_settings
from engine.presets import BUDGETS, read_configurations
from engine.records.comparison import Speed, Timing
from engine.settings import Settings

WIDE_PX = 192  # from this size on networks are as wide as the published ones, below as the demo's


def metrics(chosen: argparse.Namespace, settings: Settings) -> int:
    """Our distances and pixel metrics beside well-known libraries'."""
    from engine.bench import metrics

    return _race(chosen, metrics.run)


def data(chosen: argparse.Namespace, settings: Settings) -> int:
    """Packing beside bare decoding and scaling."""
    from engine.bench import data

    return _race(chosen, data.run)


def train(chosen: argparse.Namespace, settings: Settings) -> int:
    """Training beside the plain loop."""
    config = choose_weights(read_task(chosen), settings)
    from engine.bench import training

    task = training.Task(config, settings, _read_rounds(chosen), training.ROUND_S)
    with stderr.status("measuring") as status:
        speeds = training.run(task, status.update)
    if chosen.json:
        print(json.dumps(training.as_json(task, speeds), indent=2))
    else:
        _print_speeds(Console(), speeds)
    return 0


def gpu(chosen: argparse.Namespace, settings: Settings) -> int:
    """Checks and measures training on this machine's GPU."""
    from engine.bench import gpu

    folder = read_path(chosen.out, "--out")
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"--out must name a folder; {folder} is a file.")
    settings.require_writable_artifacts()
    with stderr.status("measuring") as status:
        found = gpu.run(folder, settings, status.update)
    print((folder / "gpu.md").read_text(encoding="utf-8"))
    return 0 if found.is_right else 1


def read_task(chosen: argparse.Namespace) -> RunConfig:
    """The run whose training is measured.

    Raises:
        BadInputError: a setting cannot be.
    """
    width = BUDGETS["study1" if chosen.px >= WIDE_PX else "demo"].base_channels
    (configuration,) = read_configurations([chosen.configuration])
    asked = {
        "px": str(chosen.px),
        "batch": str(chosen.batch),
        "base_channels": str(width),
        "device": chosen.device,
        "epochs": "60",  # so that `auto` decides as for a run that is worth a warm-up
    }
    config = RunConfig(data="made-up", configuration=configuration, budget=BUDGETS["demo"])
    return apply_settings(config, {**asked, **parse_settings(chosen.set)})


def _race(
    chosen: argparse.Namespace, run: Callable[[int, Callable[[str], None]], list[Timing]]
) -> int:
    rounds = _read_rounds(chosen)
    with stderr.status("measuring") as status:
        found = run(rounds, status.update)
    if chosen.json:
        print(json.dumps([{**vars(it), "median": it.median} for it in found], indent=2))
    else:
        _print_timings(Console(), found)
    return 0


def _read_rounds(chosen: argparse.Namespace) -> int:
    rounds: int = chosen.rounds
    if not 1 <= rounds <= 100:
        raise BadInputError(f"--rounds must be from 1 to 100, not {rounds}.")
    return rounds


def _print_timings(console: Console, timings: Sequence[Timing]) -> None:
    """Contenders side by side, a task in a row, and how many times as long as ours they take."""
    names = list(dict.fromkeys(it.contender for it in timings))
    table = Table(box=None, header_style="bold")
    table.add_column("seconds, median")
    for name in names:
        table.add_column(name, justify="right")
    for task in dict.fromkeys(it.task for it in timings):
        of_task = {it.contender: it for it in timings if it.task == task}
        ours = of_task["ours"].median
        cells = []
        for name in names:
            if name not in of_task:
                cells.append("—")
                continue
            it = of_task[name]
            text = f"{it.median:.3f}" + ("" if name == "ours" else f" ({it.median / ours:.1f}x)")
            cells.append(text if it.error is None else f"{text}\n[dim]error {it.error:.0e}[/]")
        table.add_row(task, *cells)
    console.print(table)


def _print_speeds(console: Console, speeds: Sequence[Speed]) -> None:
    """Contenders in rows, and what the first one spends its time on."""
    ours, *_ = speeds
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for head in ("pictures/s", "least to most", "ours is", "peak memory", "of the limit"):
        table.add_column(head, justify="right")
    for it in speeds:
        table.add_row(
            it.contender,
            f"{it.median:,.1f}",
            f"{min(it.rounds):,.1f} to {max(it.rounds):,.1f}",
            "" if it is ours else f"{ours.median / it.median:.2f}x",
            f"{it.peak_memory_mb:,.0f} MB",
            f"{it.share:.0%}",
        )
    console.print(table)
    parts = ", ".join(f"{part} {share:.1%}" for part, share in (ours.split or {}).items())
    console.print(f"\nA step of ours: {parts}.", highlight=False)
    console.print(
        f"The limit: {ours.limit_tflops:.3g} TFLOP/s in a matrix product.", highlight=False
    )
