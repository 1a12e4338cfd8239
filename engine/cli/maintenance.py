"""Commands backup, restore, disk and prune."""

import json
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engine.cli import completion, output
from engine.cli.inputs import (
    STUDY_NUMBER,
    JsonFlag,
    YesFlag,
    confirm,
    load_settings,
    open_existing,
    parse_path,
    stderr,
)
from engine.maintenance import backup as backups
from engine.store import is_absent, utc_now
from engine.system import disk as disks
from engine.system.disk import format_bytes

DISK_COLUMNS = ("checkpoints", "samples", "predictions", "other")
# The parts of `engine.maintenance.pruning`, which loads torch.
PRUNABLE_PARTS = ("leftovers", "data", "checkpoints", "samples", "optimisers")

app = typer.Typer()


@app.command()
def backup(
    to: Annotated[str, typer.Argument(metavar="TO", help="Folder to create.")],
) -> int:
    """Backs up the database and all irreproducible files to a new folder."""
    settings = load_settings()
    folder = parse_path(to, "TO").resolve()
    with open_existing(settings) as store, stderr.status("backing up") as status:
        result = backups.back_up(store, settings, folder, utc_now(), status.update)
    print(f"{result.runs} runs and {result.files} files are in {folder}")
    if result.absent:
        line = f"{len(result.absent)} recorded files are missing: {result.absent[0]}"
        stderr.print(line, markup=False, soft_wrap=True)
    return 0


@app.command()
def restore(
    source_text: Annotated[str, typer.Argument(metavar="FROM", help="Folder of the backup.")],
    is_confirmed: YesFlag = False,
) -> int:
    """Restores a backup; the current database and runs are moved aside."""
    settings = load_settings()
    source = parse_path(source_text, "FROM").resolve()
    backups.require_restorable(settings, source)
    has_database = not is_absent(settings.database_url)
    question = "This moves the current database and runs aside and restores the backup."
    if has_database and not confirm(question, is_confirmed):
        return 1
    with stderr.status("restoring") as status:
        moved_to = backups.restore(settings, source, utc_now(), status.update)
    with open_existing(settings) as store:
        n_runs = len(store.runs.read_all())
    remark = f"; the previous database and runs are in {moved_to}" if moved_to else ""
    print(f"restored {n_runs} runs{remark}")
    return 0


@app.command()
def disk(as_json: JsonFlag = False) -> int:
    """Shows disk usage by study."""
    settings = load_settings()
    rows = []
    with nullcontext() if is_absent(settings.database_url) else open_existing(settings) as store:
        for study in store.studies.read_all() if store is not None else []:
            runs = [run.id for run in store.runs.read_all(study.id)] if store is not None else []
            usage = disks.usage_of_runs(runs, settings)
            parts = {part: usage.parts.get(part, 0) for part in DISK_COLUMNS}
            rows.append((study, {**parts, "total": usage.total}))
    shared = {
        name: disks.usage_of(folder)
        for name, folder in (
            ("data", settings.data_dir),
            ("features", settings.features_dir),
            ("weights", settings.weights_dir),
        )
    }
    free = disks.free_bytes(settings.artifacts)
    if as_json:
        studies = [{"study": study.id, "name": study.name, **sizes} for study, sizes in rows]
        print(json.dumps({"studies": studies, **shared, "free": free}, indent=2))
        return 0
    table = Table(box=None, header_style="bold")
    for heading in ("study", "name"):
        table.add_column(heading)
    for heading in (*DISK_COLUMNS, "total"):
        table.add_column(heading, justify="right")
    for study, sizes in rows:
        size_cells = [format_bytes(size) for size in sizes.values()]
        table.add_row(str(study.id), output.plain(study.name), *size_cells)
    console = Console()
    if rows:
        console.print(table)
    shared_sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in shared.items())
    console.print(f"shared: {shared_sizes}; free: {format_bytes(free)}", highlight=False)
    return 0


@app.command(
    epilog="""
Show how much space the samples and optimisers of study 1 take:
  PROGRAM prune --study 1 --parts samples,optimisers --dry-run
"""
)
def prune(
    study: Annotated[
        int | None,
        typer.Option(help="Prune only this study.", **STUDY_NUMBER),
    ] = None,
    parts_text: Annotated[
        str | None,
        typer.Option(
            "--parts",
            metavar="PART,...",
            help=f"Comma-separated list of {', '.join(PRUNABLE_PARTS)}.  "
            "[default: leftovers,data,checkpoints; with --study: checkpoints]",
            autocompletion=lambda incomplete: completion.continue_list(incomplete, PRUNABLE_PARTS),
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted, delete nothing.")
    ] = False,
    is_confirmed: YesFlag = False,
    as_json: JsonFlag = False,
) -> int:
    """Deletes files that are not needed any more, after a confirmation."""
    settings = load_settings()
    from engine.maintenance import pruning

    with open_existing(settings) as store:
        if study is not None:
            store.studies.read(study)
        parts = pruning.parse_parts(parts_text, study)
        prunable = pruning.find_prunable(store, settings, parts, study)
        sizes = {
            part: sum(file.n_bytes for file in prunable if file.part == part) for part in parts
        }
        if as_json:
            print(json.dumps({**sizes, "total": sum(sizes.values())}, indent=2))
        else:
            for part, size in sizes.items():
                print(f"{format_bytes(size):>8}  {part}: {pruning.PARTS[part]}")
        if dry_run or not prunable:
            return 0
        if not confirm(f"This frees {format_bytes(sum(sizes.values()))}.", is_confirmed):
            return 1
        freed = pruning.prune(store, settings, prunable)
    stderr.print(f"Freed {format_bytes(freed)}.", markup=False, highlight=False)
    return 0
