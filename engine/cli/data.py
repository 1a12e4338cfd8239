"""Commands data list, check, describe, prepare and fetch."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli import completion, output
from engine.cli.inputs import (
    JsonFlag,
    SourceText,
    load_settings,
    parse_path,
    parse_whole_number,
    stderr,
)
from engine.data import packing
from engine.data.sources import exclusions
from engine.data.sources.interface import Source
from engine.data.sources.published import DATA_SETS, get_data_set
from engine.data.sources.registry import SOURCE_KINDS, parse_source
from engine.data.survey import summary, survey
from engine.data.survey.statistics import CHANNELS
from engine.errors import BadInputError
from engine.images.faults import FAULT_KINDS, SEVERITIES, Fault
from engine.presets import BUDGETS, get_budget
from engine.settings import Settings

MAX_FILES_PER_FAULT = 5

app = typer.Typer(help="Lists, checks, packs and downloads data sources.")


@app.command("list")
def list_sources(as_json: JsonFlag = False) -> int:
    """Lists the embedded source and all scanned sources."""
    settings = load_settings()
    all_pairs = get_budget("paper")
    rows = []
    for source in [parse_source("openmoji", settings), *summary.scanned_sources(settings)]:
        counts = packing.count_pairs(source, all_pairs, settings)
        sizes = packing.packed_sizes(source, settings)
        row = {"source": source.text, "about": source.about, "pairs": counts, "packed_px": sizes}
        rows.append(row)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        _print_sources(Console(), rows)
    return 0


@app.command(
    epilog="""
List the faults of your own photographs, then exclude the faulty files:
  PROGRAM data check photos:/my/pictures
  PROGRAM data check photos:/my/pictures --clean
"""
)
def check(
    source_text: SourceText,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Exclude faulty files; the files are not modified."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Scan again, ignore the stored scan.")
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Include all excluded files again.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Reports faults in the files of a source, and excludes or includes files."""
    settings = load_settings()
    source = parse_source(source_text, settings)
    if restore:
        if clean:
            raise BadInputError("Give only one of --clean and --restore.")
        count = exclusions.include_all(source, settings)
        print(json.dumps({"restored": count}) if as_json else f"{count:,} files are included again")
        return 0
    if again:
        survey.delete_survey(source, settings)
    scanned = _survey(source, settings)
    if as_json:
        faults = [asdict(fault) for fault in scanned.faults]
        print(json.dumps({"pairs": len(scanned.names), "faults": faults}, indent=2))
    else:
        _print_faults(Console(), source, scanned)
    if clean:
        path, count = exclusions.exclude_faulty(source, scanned.faults, settings)
        line = f"{count:,} files are excluded, see {path}; --restore includes them again"
        stderr.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


@app.command()
def describe(source_text: SourceText, as_json: JsonFlag = False) -> int:
    """Shows statistics of a source, split by split."""
    settings = load_settings()
    source = parse_source(source_text, settings)
    _survey(source, settings)
    statistics = summary.load_summary(source, settings)
    assert statistics is not None, "a survey has a summary"
    if as_json:
        print(json.dumps(statistics, indent=2))
    else:
        _print_summary(Console(), statistics)
    return 0


@app.command(
    epilog="""
Pack pictures with two halves, 5,000 of them at most, at 128 x 128 pixels:
  PROGRAM data prepare 'sidebyside:/my/pictures?limit=5000' --size 128
"""
)
def prepare(
    source_text: SourceText,
    size: Annotated[
        int,
        typer.Option(metavar="PX", help="Height and width in pixels.", parser=parse_whole_number),
    ] = BUDGETS["demo"].px,
    as_json: JsonFlag = False,
) -> int:
    """Packs a source at one size."""
    settings = load_settings()
    source = parse_source(source_text, settings)
    size = output.check_px(size)
    changed = summary.change_since_scan(source, settings)
    if changed is not None and not packing.is_packed(source, size, settings):
        stderr.print(f"{changed} Packing it again.", markup=False, soft_wrap=True)
    with output.image_bar(stderr, f"packing {source.title} at {size} px") as on_progress:
        packed = packing.prepare(source, size, settings, on_progress)
    for fault in packed.unusable:
        stderr.print(f"excluded: {fault.file}: {fault.detail}", markup=False, soft_wrap=True)
    document = {
        "source": packed.source_text,
        "px": packed.px,
        "pairs": len(packed.pairs),
        "left_out": len(packed.unusable),
        "fingerprint": packed.fingerprint,
    }
    message = f"{source.title}: {len(packed.pairs):,} pairs packed at {packed.px} px"
    print(json.dumps(document) if as_json else message)
    return 0


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help=f"Data set: {', '.join(DATA_SETS)}.",
            autocompletion=completion.complete_data_set,
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Target folder.  [default: in the artifacts folder]"),
    ] = None,
) -> int:
    """Downloads a published data set."""
    settings = load_settings()
    from engine.data.sources import download

    get_data_set(name)
    folder = parse_path(to, "--to") if to else settings.data_dir / "fetched"
    print(download.download_data_set(name, folder))
    return 0


def _survey(source: Source, settings: Settings) -> survey.Survey:
    if survey.load_survey(source, settings) is None:
        changed = summary.change_since_scan(source, settings)
        if changed is not None:
            stderr.print(f"{changed} Scanning it again.", markup=False, soft_wrap=True)
    with output.image_bar(stderr, f"scanning {source.title}") as on_progress:
        return survey.make_survey(source, settings, on_progress)


def _print_sources(console: Console, sources: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold")
    for heading in ("source", "train", "val", "test", "packed at", "about"):
        table.add_column(heading, overflow="fold")
    for source in sources:
        counts = [f"{source['pairs'][split]:,}" for split in ("train", "val", "test")]
        packed = ", ".join(f"{px} px" for px in source["packed_px"]) or "—"
        cells = [output.plain(source["source"]), *counts, packed, output.plain(source["about"])]
        table.add_row(*cells)
    for text, about in SOURCE_KINDS.items():
        if text != "openmoji":
            table.add_row(f"[dim]{text}[/]", "", "", "", "", f"[dim]{about}[/]")
    console.print(table)


def _print_faults(console: Console, source: Source, scanned: survey.Survey) -> None:
    counts = [f"{scanned.splits.count(split):,} {split}" for split in ("train", "val", "test")]
    line = f"{len(scanned.names):,} pairs can be read: {', '.join(counts)}"
    console.print(output.plain(source.about), style="bold", highlight=False)
    console.print(line, highlight=False)
    if not scanned.faults:
        console.print("No faults.")
    for severity in SEVERITIES:
        of_kind: dict[str, list[Fault]] = {}
        for fault in scanned.faults:
            if fault.severity == severity:
                of_kind.setdefault(fault.kind, []).append(fault)
        for kind, faults in of_kind.items():
            style = {"error": "red", "warning": "yellow"}.get(severity, "")
            heading = f"{severity}: {kind}, {len(faults):,} ({FAULT_KINDS[kind]})"
            console.print(f"\n{heading}", style=style, highlight=False, soft_wrap=True)
            for fault in faults[:MAX_FILES_PER_FAULT]:
                text = f"  {output.plain(fault.file)}: {output.plain(fault.detail)}"
                console.print(text, highlight=False, soft_wrap=True)
            if len(faults) > MAX_FILES_PER_FAULT:
                console.print(f"  and {len(faults) - MAX_FILES_PER_FAULT:,} more; --json lists all")


def _print_summary(console: Console, statistics: dict[str, Any]) -> None:
    console.print(output.plain(statistics["about"]), style="bold", highlight=False)
    splits = statistics["splits"]
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for name in splits:
        table.add_column(name, justify="right")
    table.add_row("pairs", *(f"{split['pairs']:,}" for split in splits.values()))
    table.add_row("usual size", *(_usual_size(split["sizes"]) for split in splits.values()))
    for label in next(iter(splits.values()), {"measures": {}})["measures"]:
        cells = []
        for split in splits.values():
            measure = split["measures"][label]
            cells.append(f"{measure['median']:.3g} ({measure['low']:.3g} to {measure['high']:.3g})")
        table.add_row(label, *cells)
    for channel in CHANNELS:
        cells = []
        for split in splits.values():
            values = split["channels"][channel]
            cells.append(
                f"{values['mean']:.0f} ± {values['spread']:.0f} "
                f"({values['low']:.0f} to {values['high']:.0f})"
            )
        table.add_row(f"values, {channel}", *cells)
    console.print(table)
    console.print("Measures: median (5 % to 95 %) over pictures. Values: mean ± spread (range).")
    for shift in statistics["shifts"]:
        console.print(output.plain(summary.shift_sentence(shift)), highlight=False, style="yellow")
    if splits and not statistics["shifts"]:
        console.print("No difference between the splits beyond chance.")


def _usual_size(sizes: dict[str, Any] | None) -> str:
    if sizes is None:
        return "any"
    first = sizes["common"][0]
    return f"{first['width']}x{first['height']}"
