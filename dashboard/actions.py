"""What pages may do. With `reads` and `looks`, the only file here that knows the store."""

import hashlib
from collections.abc import Sequence

from dashboard.queries import launch, sources, studies
from engine import annotations
from engine.config import RunConfig
from engine.data.survey import exclusions
from engine.jobs import lifecycle, planning
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records.runs import RunState, Study
from engine.store import utc_now


def start_study(configs: Sequence[RunConfig], name: str, key: str) -> int:
    """Stores a study and queues its runs; the same press on the same form is the same study."""
    form = "".join(config.model_dump_json() for config in configs) + name
    press = f"{key}-{hashlib.sha256(form.encode()).hexdigest()[:16]}"
    study, _ = lifecycle.submit(
        studies.store(), studies.settings(), configs, name, press, utc_now()
    )
    return study.id


def start_demo(key: str) -> int:
    """The demo study, as `make demo` has it."""
    plan = launch.plan("openmoji", "demo", DEFAULT_CONFIGURATIONS, 1, ())
    return start_study(plan.configs, plan.name, key)


def measure(configs: Sequence[RunConfig]) -> None:
    """Queues measuring how fast this machine trains configs like these."""
    lifecycle.submit_probe(studies.store(), studies.settings(), configs, utc_now())


def edit_study(study_id: int, name: str, note: str, tags: Sequence[str]) -> None:
    """Keeps a study's name and what a person wrote about it; all of it, or nothing."""
    checked = (
        annotations.check_name(name),
        annotations.check_note(note),
        annotations.check_tags(tags),
    )
    studies.store().edit_study(study_id, *checked)


def annotate_run(run_id: int, note: str, tags: Sequence[str]) -> None:
    """Keeps what a person wrote about a run."""
    studies.store().annotate_run(run_id, annotations.check_note(note), annotations.check_tags(tags))


def check(source: str) -> None:
    """Queues a look at a source."""
    lifecycle.submit_check(
        studies.store(), studies.settings(), studies.source(source).text, utc_now()
    )


def stop_job(job_id: int) -> None:
    """Asks a look at a source, or a probe, to stop."""
    lifecycle.cancel_job(studies.store(), studies.settings(), job_id, utc_now())


def clean(source: str) -> None:
    """Leaves out what is wrong with a source, and looks at the rest."""
    look = sources.look(source)
    exclusions.clean(look.source, look.faults, studies.settings())
    check(source)


def restore(source: str) -> None:
    """Takes back what was left out of a source, and looks at all of it."""
    exclusions.restore(studies.source(source), studies.settings())
    check(source)


def stop_run(run_id: int) -> RunState:
    """Stops a queued run at once, asks a running one to stop; asked again, it is killed."""
    return lifecycle.cancel(studies.store(), studies.settings(), run_id, utc_now())


def resume_run(run_id: int) -> None:
    """Continues a run from its newest checkpoint."""
    lifecycle.resume(studies.store(), studies.settings(), run_id, utc_now())


def retry_run(run_id: int) -> None:
    """Lets a run begin again; what it recorded is removed."""
    lifecycle.retry(studies.store(), studies.settings(), run_id, utc_now())


def move_to_front(run_id: int) -> None:
    """Lets a queued run be the next."""
    lifecycle.move_to_front(studies.store(), run_id)


def delete_runs(run_ids: Sequence[int]) -> None:
    """Removes runs with all their files; a study goes with its last run."""
    lifecycle.delete(studies.store(), studies.settings(), run_ids)


def archive_run(run_id: int, is_away: bool) -> None:
    """Puts a run out of the lists, or back."""
    studies.store().archive_run(run_id, utc_now() if is_away else None)


def archive_study(study_id: int, is_away: bool) -> None:
    """Puts a study out of the lists, or back."""
    studies.store().archive_study(study_id, utc_now() if is_away else None)


def extend_study(study: Study, wanted: planning.Extension) -> int:
    """Adds configurations, seeds or epochs to a study; returns how many runs that queued."""
    runs = studies.store().read_runs(study.id)
    configs = planning.plan_extension(study, runs, wanted, studies.settings())
    return len(lifecycle.extend(studies.store(), studies.settings(), study.id, configs, utc_now()))
