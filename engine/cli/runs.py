"""The commands that stop, continue, repeat, put away and remove runs and studies."""

import argparse
from collections.abc import Callable

from engine import annotations
from engine.cli.inputs import confirm, open_existing, stderr
from engine.cli.studies import start
from engine.errors import BadInputError
from engine.jobs import lifecycle, planning
from engine.overrides import parse_settings
from engine.records.runs import Run
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.system import disk
from engine.system.disk import say_bytes

Deed = Callable[[Run], str]  # returns what there is to say of it


def cancel(chosen: argparse.Namespace, settings: Settings) -> int:
    """Stops runs."""

    def stop(run: Run) -> str:
        state = lifecycle.cancel(store, settings, run.id, utc_now())
        return f"run {run.id} is {state}"

    store = open_existing(settings)
    return _each(chosen, store, stop, lambda run: not run.is_over)


def resume(chosen: argparse.Namespace, settings: Settings) -> int:
    """Continues runs from their newest checkpoint."""

    def go_on(run: Run) -> str:
        lifecycle.resume(store, settings, run.id, utc_now())
        saved = store.read_checkpoints(run.id)
        where = f"after step {saved[0].step}" if saved else "from the beginning"
        return f"run {run.id} is queued, {where}"

    store = open_existing(settings)
    return _each(chosen, store, go_on, lambda run: run.is_over and run.state != "done")


def retry(chosen: argparse.Namespace, settings: Settings) -> int:
    """Lets runs begin again; what they recorded is removed."""

    def again(run: Run) -> str:
        lifecycle.retry(store, settings, run.id, utc_now())
        return f"run {run.id} is queued, from the beginning"

    store = open_existing(settings)
    runs = _chosen(chosen, store, lambda run: run.is_over and run.state != "done")
    _require_ended(runs)
    losing = [run for run in runs if run.step]
    lost = ", ".join(f"{run.step} steps of run {run.id}" for run in losing[:3])
    more = f" and more of {len(losing) - 3} others" if len(losing) > 3 else ""
    if losing and not confirm(f"What was recorded is removed: {lost}{more}.", chosen.yes):
        return 1
    return _do(chosen, runs, again)


def front(chosen: argparse.Namespace, settings: Settings) -> int:
    """Lets queued runs be the next."""

    def move(run: Run) -> str:
        lifecycle.move_to_front(store, run.id)
        return f"run {run.id} is next"

    store = open_existing(settings)
    runs = _chosen(chosen, store, lambda run: run.state == "queued")
    return _do(chosen, runs[::-1], move)  # the last one moved is the first


def archive(chosen: argparse.Namespace, settings: Settings) -> int:
    """Puts studies or runs away, out of the lists; --undo takes them back."""
    store = open_existing(settings)
    at = None if chosen.undo else utc_now()
    word = "listed again" if chosen.undo else "archived"
    if chosen.study is not None:
        store.read_study(chosen.study)
        store.archive_study(chosen.study, at)
        print(f"study {chosen.study} is {word}")
    for run in [store.read_run(it) for it in chosen.run_ids]:
        store.archive_run(run.id, at)
        print(f"run {run.id} is {word}")
    if chosen.study is None and not chosen.run_ids:
        raise BadInputError("Say which: RUN numbers, or --study ID.")
    return 0


def delete(chosen: argparse.Namespace, settings: Settings) -> int:
    """Removes runs, or a study, with all their files."""
    store = open_existing(settings)
    runs = _chosen(chosen, store, lambda run: True)
    _require_ended(runs)
    size = disk.usage_of_runs([run.id for run in runs], settings).total
    what = f"run{'s' if len(runs) > 1 else ''} {', '.join(str(run.id) for run in runs)}"
    what = f"study {chosen.study}, {what}," if chosen.study else what
    if not confirm(f"This removes {what} for good and frees {say_bytes(size)}.", chosen.yes):
        return 1
    gone = lifecycle.delete(store, settings, [run.id for run in runs])
    print(f"removed: {len(gone)} of {len(runs)}; {say_bytes(size)} are free")
    return 0


def clone(chosen: argparse.Namespace, settings: Settings) -> int:
    """Starts a study like another one, with single values changed."""
    store = open_existing(settings)
    study = store.read_study(chosen.study)
    changes = parse_settings(chosen.set)
    configs = planning.plan_clone(store.read_runs(study.id), changes, settings)
    again = annotations.name_again(study.name)
    name = again if chosen.name is None else annotations.check_name(chosen.name)
    return start(store, settings, configs, name, chosen)


def _require_ended(runs: list[Run]) -> None:
    for run in runs:
        if not run.state.is_finished():
            raise BadInputError(f"Run {run.id} is {run.state}: stop it first.")


def _each(
    chosen: argparse.Namespace, store: Store, deed: Deed, suits: Callable[[Run], bool]
) -> int:
    return _do(chosen, _chosen(chosen, store, suits), deed)


def _chosen(chosen: argparse.Namespace, store: Store, suits: Callable[[Run], bool]) -> list[Run]:
    """The runs that were named, or those of a study to which the command applies."""
    if bool(chosen.run_ids) == (chosen.study is not None):
        raise BadInputError("Say which: RUN numbers, or --study ID.")
    if chosen.study is None:
        return [store.read_run(run_id) for run_id in dict.fromkeys(chosen.run_ids)]
    store.read_study(chosen.study)
    runs = [run for run in store.read_runs(chosen.study) if suits(run)]
    if not runs:
        raise BadInputError(f"Study {chosen.study} has no run that this applies to.")
    return runs


def _do(chosen: argparse.Namespace, runs: list[Run], deed: Deed) -> int:
    """Does it to each run; one that cannot be does not keep the others from it."""
    refused: list[BadInputError] = []
    for run in runs:
        try:
            print(deed(run))
        except BadInputError as error:
            refused.append(error)
    if len(refused) == len(runs):
        raise refused[0]
    for refusal in refused:
        stderr.print(str(refusal), markup=False, soft_wrap=True)
    return 1 if refused else 0
