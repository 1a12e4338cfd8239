"""The commands that keep an installation well: backup and restore, disk and room."""

import argparse
import json

from rich.console import Console
from rich.table import Table

from engine.cli import output
from engine.cli.inputs import confirm, open_existing, read_path, stderr
from engine.maintenance import backup as backups
from engine.settings import Settings
from engine.store import is_absent, utc_now
from engine.system import disk as disks
from engine.system.disk import say_bytes

PARTS = ("checkpoints", "samples", "predictions", "other")


def backup(chosen: argparse.Namespace, settings: Settings) -> int:
    """Writes everything that cannot be made again into a new folder."""
    to = read_path(chosen.to, "TO").resolve()
    store = open_existing(settings)
    with stderr.status("backing up") as status:
        made = backups.back_up(store, settings, to, utc_now(), status.update)
    print(f"{made.runs} runs and {made.files} files are in {to}")
    if made.absent:
        line = f"{len(made.absent)} recorded files were not there: {made.absent[0]}"
        stderr.print(line, markup=False, soft_wrap=True)
    return 0


def restore(chosen: argparse.Namespace, settings: Settings) -> int:
    """Puts a backup in place."""
    source = read_path(chosen.source, "FROM").resolve()
    backups.require_restorable(settings, source)
    there = not is_absent(settings.database_url)
    question = "The database and runs of now are moved aside; the backup takes their place."
    if there and not confirm(question, chosen.yes):
        return 1
    with stderr.status("restoring") as status:
        aside = backups.restore(settings, source, utc_now(), status.update)
    runs = len(open_existing(settings).read_runs())
    print(f"{runs} runs are restored" + (f"; what was there before is {aside}" if aside else ""))
    return 0


def disk(chosen: argparse.Namespace, settings: Settings) -> int:
    """What is on the disk, by study."""
    store = None if is_absent(settings.database_url) else open_existing(settings)
    rows = []
    for study in store.read_studies() if store is not None else []:
        runs = [run.id for run in store.read_runs(study.id)] if store is not None else []
        usage = disks.usage_of_runs(runs, settings)
        parts = {part: usage.parts.get(part, 0) for part in PARTS}
        rows.append((study, {**parts, "total": usage.total}))
    shared = {
        name: disks.usage_of(folder)
        for name, folder in (
            ("data", settings.data_dir),
            ("features", settings.features_dir),
            ("weights", settings.weights_dir),
        )
    }
    free = disks.free_bytes(settings)
    if chosen.json:
        studies = [{"study": study.id, "name": study.name, **sizes} for study, sizes in rows]
        print(json.dumps({"studies": studies, **shared, "free": free}, indent=2))
        return 0
    table = Table(box=None, header_style="bold")
    for heading in ("study", "name"):
        table.add_column(heading)
    for heading in (*PARTS, "total"):
        table.add_column(heading, justify="right")
    for study, sizes in rows:
        shown = [say_bytes(size) for size in sizes.values()]
        table.add_row(str(study.id), output.plain(study.name), *shown)
    console = Console()
    if rows:
        console.print(table)
    others = ", ".join(f"{name} {say_bytes(size)}" for name, size in shared.items())
    console.print(f"shared: {others}; free: {say_bytes(free)}", highlight=False)
    return 0


def prune(chosen: argparse.Namespace, settings: Settings) -> int:
    """Makes room: says what would go and how much that frees, then asks."""
    from engine.maintenance import pruning

    store = open_existing(settings)
    if chosen.study is not None:
        store.read_study(chosen.study)
    parts = pruning.read_parts(chosen.parts, chosen.study)
    found = pruning.find(store, settings, parts, chosen.study)
    sizes = {part: sum(it.n_bytes for it in found if it.part == part) for part in parts}
    if chosen.json:
        print(json.dumps({**sizes, "total": sum(sizes.values())}, indent=2))
    else:
        for part, size in sizes.items():
            print(f"{say_bytes(size):>8}  {part}: {pruning.PARTS[part]}")
    if chosen.dry_run or not found:
        return 0
    if not confirm(f"{say_bytes(sum(sizes.values()))} would be freed.", chosen.yes):
        return 1
    freed = pruning.prune(store, settings, found)
    stderr.print(f"{say_bytes(freed)} are free again.", markup=False, highlight=False)
    return 0
