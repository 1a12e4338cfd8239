"""The commands about data: what there is, what is wrong with it, what is in it."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.cli import output
from engine.cli.inputs import read_path, stderr
from engine.data import packing
from engine.data.sources.published import read_data_set
from engine.data.sources.registry import KINDS as SOURCE_KINDS
from engine.data.sources.registry import Source, read_source
from engine.data.survey import exclusions, summary, survey
from engine.data.survey.statistics import CHANNELS
from engine.errors import BadInputError
from engine.images.faults import KINDS, SEVERITIES, Fault
from engine.presets import read_budget
from engine.settings import Settings

SHOWN = 5  # files of each kind, in the terminal; --json has all


def list_sources(chosen: argparse.Namespace, settings: Settings) -> int:
    """Lists the data sources: the embedded one, and folders that were looked at."""
    everything = read_budget("paper")
    found = []
    for source in [read_source("openmoji", settings), *summary.known_sources(settings)]:
        counts = packing.count_pairs(source, everything, settings)
        sizes = packing.packed_sizes(source, settings)
        row = {"source": source.text, "about": source.about, "pairs": counts, "packed_px": sizes}
        found.append(row)
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        _print_sources(Console(), found)
    return 0


def check(chosen: argparse.Namespace, settings: Settings) -> int:
    """Lists everything that is wrong with a source's files."""
    source = read_source(chosen.source, settings)
    if chosen.restore:
        if chosen.clean:
            raise BadInputError("One of --clean and --restore at a time.")
        count = exclusions.restore(source, settings)
        print(json.dumps({"restored": count}) if chosen.json else f"{count:,} files are taken back")
        return 0
    if chosen.again:
        survey.forget(source, settings)
    found = _survey(source, settings)
    if chosen.json:
        faults = [asdict(fault) for fault in found.faults]
        print(json.dumps({"pairs": len(found.names), "faults": faults}, indent=2))
    else:
        _print_faults(Console(), source, found)
    if chosen.clean:
        path, count = exclusions.clean(source, found.faults, settings)
        line = f"{count:,} files are left out from now on, as {path} says; --restore undoes it"
        stderr.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def describe(chosen: argparse.Namespace, settings: Settings) -> int:
    """A source in figures."""
    source = read_source(chosen.source, settings)
    _survey(source, settings)
    described = summary.load_summary(source, settings)
    assert described is not None, "a survey has a summary"
    if chosen.json:
        print(json.dumps(described, indent=2))
    else:
        _print_summary(Console(), described)
    return 0


def prepare(chosen: argparse.Namespace, settings: Settings) -> int:
    """Packs a source at a size."""
    source = read_source(chosen.source, settings)
    size = output.check_px(chosen.size)
    changed = summary.changed_since(source, settings)
    if changed is not None and not packing.is_packed(source, size, settings):
        stderr.print(f"{changed} It is packed anew.", markup=False, soft_wrap=True)
    with output.picture_bar(stderr, f"packing {source.title} at {size} px") as advance:
        packed = packing.prepare(source, size, settings, advance)
    for fault in packed.left_out:
        stderr.print(f"left out: {fault.file}: {fault.detail}", markup=False, soft_wrap=True)
    document = {
        "source": packed.source,
        "px": packed.px,
        "pairs": len(packed.pairs),
        "left_out": len(packed.left_out),
        "fingerprint": packed.fingerprint,
    }
    message = f"{source.title}: {len(packed.pairs):,} pairs at {packed.px} px are packed"
    print(json.dumps(document) if chosen.json else message)
    return 0


def fetch(chosen: argparse.Namespace, settings: Settings) -> int:
    """Downloads a published data set."""
    from engine.data.sources import download

    read_data_set(chosen.name)
    to = read_path(chosen.to, "--to") if chosen.to else settings.data_dir / "fetched"
    print(download.fetch(chosen.name, to))
    return 0


def _survey(source: Source, settings: Settings) -> survey.Survey:
    if survey.load_survey(source, settings) is None:
        changed = summary.changed_since(source, settings)
        if changed is not None:
            stderr.print(f"{changed} It is looked at anew.", markup=False, soft_wrap=True)
    with output.picture_bar(stderr, f"looking at {source.title}") as advance:
        return survey.make_survey(source, settings, advance)


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


def _print_faults(console: Console, source: Source, found: survey.Survey) -> None:
    counts = [f"{found.splits.count(split):,} {split}" for split in ("train", "val", "test")]
    line = f"{len(found.names):,} pairs can be read: {', '.join(counts)}"
    console.print(output.plain(source.about), style="bold", highlight=False)
    console.print(line, highlight=False)
    if not found.faults:
        console.print("Nothing is wrong with them.")
    for severity in SEVERITIES:
        of_kind: dict[str, list[Fault]] = {}
        for fault in found.faults:
            if fault.severity == severity:
                of_kind.setdefault(fault.kind, []).append(fault)
        for kind, faults in of_kind.items():
            style = {"error": "red", "warning": "yellow"}.get(severity, "")
            heading = f"{severity}: {kind}, {len(faults):,} ({KINDS[kind]})"
            console.print(f"\n{heading}", style=style, highlight=False, soft_wrap=True)
            for fault in faults[:SHOWN]:
                text = f"  {output.plain(fault.file)}: {output.plain(fault.detail)}"
                console.print(text, highlight=False, soft_wrap=True)
            if len(faults) > SHOWN:
                console.print(f"  and {len(faults) - SHOWN:,} more; --json lists all")


def _print_summary(console: Console, described: dict[str, Any]) -> None:
    console.print(output.plain(described["about"]), style="bold", highlight=False)
    splits = described["splits"]
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
            it = split["channels"][channel]
            cells.append(
                f"{it['mean']:.0f} ± {it['spread']:.0f} ({it['low']:.0f} to {it['high']:.0f})"
            )
        table.add_row(f"values, {channel}", *cells)
    console.print(table)
    console.print("Measures: median (5 % to 95 %) over pictures. Values: mean ± spread (range).")
    for shift in described["shifts"]:
        console.print(output.plain(summary.say_shift(shift)), highlight=False, style="yellow")
    if splits and not described["shifts"]:
        console.print("No difference between the splits beyond chance.")


def _usual_size(sizes: dict[str, Any] | None) -> str:
    if sizes is None:
        return "any"
    first = sizes["common"][0]
    return f"{first['width']}x{first['height']}"
