"""Runs all stress tests and prints figures: `make chaos`."""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from engine.presets import CONFIGURATIONS
from tests.chaos import concurrency, kills, stops
from tests.chaos.concurrency import percentile, with_own_database
from tests.chaos.installation import Installation, prepare_shared, temporary_installation

EPOCHS = "40"  # of the killed runs; most kills hit the training
MAX_STEP_S = 1.0  # at the size of these runs

Row = tuple[str, str, bool]  # subject, figures, whether they are good enough
Part = Callable[[Path, Path, argparse.Namespace, Callable[[str], None]], list[Row]]


def main() -> int:
    """Runs the named parts, or all of them; returns 1 if a figure is not good enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parts: dict[str, Part] = {
        "concurrency": _concurrency,
        "deaths": _deaths,
        "stops": _stops,
        "kills": _kills,
    }
    parser.add_argument("parts", nargs="*", choices=[[], *parts], default=[])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    console, all_rows = Console(), []
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        shared = prepare_shared(folder / "shared")
        for name in args.parts or parts:
            with console.status(name) as status:
                rows = parts[name](folder / name, shared, args, status.update)
            for subject, figures, is_good in rows:
                verdict = "[green]passed[/]" if is_good else "[red]FAILED[/]"
                console.print(f"[bold]{subject}[/]: {figures}; {verdict}", highlight=False)
            all_rows += rows
    finally:
        shutil.rmtree(folder)
    return 0 if all(is_good for *_, is_good in all_rows) else 1


def _concurrency(
    folder: Path, shared: Path, args: argparse.Namespace, report: Callable[[str], None]
) -> list[Row]:
    with temporary_installation(folder, shared) as installation:
        settings = installation.settings
        report("500 submits with 50 keys from 8 processes")
        n_studies = concurrency.submit_concurrently(
            with_own_database(settings, folder / "a"), 500, 50
        )
        report("2,000 queued jobs, 8 claimers, 4 slots")
        claims = concurrency.claim_concurrently(with_own_database(settings, folder / "b"), 2000, 4)
        report("8 runs write and 5 pages poll for a minute")
        load = concurrency.write_and_poll(with_own_database(settings, folder / "c"), 8, 5, 60.0)
    return [
        ("500 submits with 50 keys from 8 processes", f"{n_studies} studies", n_studies == 50),
        (
            "2,000 queued jobs, 8 claimers",
            f"{claims.claimed:,} claimed in {claims.seconds:.0f} s, {claims.doubled} doubled",
            claims.claimed == 2000 and not claims.doubled,
        ),
        (
            "4 slots",
            f"at most {claims.max_concurrent} jobs at once",
            claims.max_concurrent <= claims.slots,
        ),
        (
            "8 writing runs, 5 polling pages, 60 s",
            f"{load.writes:,} writes (p99 {load.write_p99_s * 1e3:.0f} ms), {load.reads:,} "
            f"reads (p99 {load.read_p99_s * 1e3:.0f} ms), {len(load.errors)} errors, "
            f"log {load.wal_bytes / 2**20:.1f} MB",
            not load.errors and load.read_p99_s < 0.2 and load.wal_bytes < 64 * 2**20,
        ),
    ]


def _deaths(
    folder: Path, shared: Path, args: argparse.Namespace, report: Callable[[str], None]
) -> list[Row]:
    result = stops.kill_and_suspend(folder, shared, 10, 30.0, report)
    worst_s = max(result.detected_after_s)
    return [
        ("10 killed workers", f"detected after {worst_s:.1f} s at most", worst_s < 5),
        (
            f"{result.suspended_s:.0f} s of SIGSTOP",
            "the run continued" if result.survived_suspension else "taken for a crash",
            result.survived_suspension,
        ),
    ]


def _stops(
    folder: Path, shared: Path, args: argparse.Namespace, report: Callable[[str], None]
) -> list[Row]:
    result = stops.stop_repeatedly(folder, shared, args.stops, args.seed, report)
    p95 = percentile(result.seconds, 0.95)
    return [
        (
            f"{len(result.seconds)} stops at random moments",
            f"median {percentile(result.seconds, 0.5):.1f} s, p95 {p95:.1f} s, at most "
            f"{max(result.seconds):.1f} s",
            p95 < MAX_STEP_S + 5,
        ),
        (
            "after the stops",
            f"{result.unloadable} unloadable checkpoints, {result.left} processes left",
            not result.unloadable and not result.left,
        ),
    ]


def _kills(
    folder: Path, shared: Path, args: argparse.Namespace, report: Callable[[str], None]
) -> list[Row]:
    def study(installation: Installation) -> object:
        return installation.submit(list(CONFIGURATIONS), 2, epochs=EPOCHS, evaluations="2")

    def kill(installation: Installation) -> Counter[str]:
        return kills.kill_at_random(installation, args.kills, args.seed, report)

    started_at = time.monotonic()
    outcome = kills.compare_with_undisturbed(folder, shared, study, kill, report)
    seconds = time.monotonic() - started_at
    n_kills, attempts = outcome.kills.total(), outcome.attempts
    phases = ", ".join(f"{count} {phase}" for phase, count in outcome.kills.most_common())
    return [
        (
            f"{n_kills} kills, {min(attempts)} to {max(attempts)} attempts at each of 12 runs",
            f"{phases}; {seconds:.0f} s with the undisturbed runs",
            n_kills >= args.kills,
        ),
        ("all runs done", str(outcome.all_done).lower(), outcome.all_done),
        (
            "database intact",
            str(outcome.is_database_intact).lower(),
            outcome.is_database_intact,
        ),
        (
            "metric points, compared with undisturbed runs",
            f"{outcome.missing} missing, {outcome.extra} extra, {outcome.different} different",
            not outcome.missing + outcome.extra + outcome.different,
        ),
        (
            "final weights, optimisers and averages, bit for bit",
            f"{outcome.different_states} of 12 differ",
            not outcome.different_states,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
