"""What pages may do. With `reads` and `looks`, the only file here that knows the store."""

import hashlib
from collections.abc import Sequence

from dashboard import looks, plans, reads
from engine import jobs, naming, planning
from engine.config import RunConfig
from engine.data import cleaning
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records import RunState, Study
from engine.store import utc_now


def start_study(configs: Sequence[RunConfig], name: str, key: str) -> int:
    """Stores a study and queues its runs; the same press on the same form is the same study."""
    form = "".join(config.model_dump_json() for config in configs) + name
    press = f"{key}-{hashlib.sha256(form.encode()).hexdigest()[:16]}"
    study, _ = jobs.submit(reads.store(), reads.settings(), configs, name, press, utc_now())
    return study.id


def start_demo(key: str) -> int:
    """The demo study, as `make demo` has it."""
    plan = plans.plan("openmoji", "demo", DEFAULT_CONFIGURATIONS, 1, ())
    return start_study(plan.configs, plan.name, key)


def measure(configs: Sequence[RunConfig]) -> None:
    """Queues measuring how fast this machine trains configs like these."""
    jobs.submit_probe(reads.store(), reads.settings(), configs, utc_now())


def edit_study(study_id: int, name: str, note: str, tags: Sequence[str]) -> None:
    """Keeps a study's name and what a person wrote about it; all of it, or nothing."""
    checked = naming.check_name(name), naming.check_note(note), naming.check_tags(tags)
    reads.store().edit_study(study_id, *checked)


def annotate_run(run_id: int, note: str, tags: Sequence[str]) -> None:
    """Keeps what a person wrote about a run."""
    reads.store().annotate_run(run_id, naming.check_note(note), naming.check_tags(tags))


def check(source: str) -> None:
    """Queues a look at a source."""
    jobs.submit_check(reads.store(), reads.settings(), reads.source(source).text, utc_now())


def stop_job(job_id: int) -> None:
    """Asks a look at a source, or a probe, to stop."""
    jobs.cancel_job(reads.store(), reads.settings(), job_id, utc_now())


def clean(source: str) -> None:
    """Leaves out what is wrong with a source, and looks at the rest."""
    look = looks.look(source)
    cleaning.clean(look.source, look.faults, reads.settings())
    check(source)


def restore(source: str) -> None:
    """Takes back what was left out of a source, and looks at all of it."""
    cleaning.restore(reads.source(source), reads.settings())
    check(source)


def stop_run(run_id: int) -> RunState:
    """Stops a queued run at once, asks a running one to stop; asked again, it is killed."""
    return jobs.cancel(reads.store(), reads.settings(), run_id, utc_now())


def resume_run(run_id: int) -> None:
    """Continues a run from its newest checkpoint."""
    jobs.resume(reads.store(), reads.settings(), run_id, utc_now())


def retry_run(run_id: int) -> None:
    """Lets a run begin again; what it recorded is removed."""
    jobs.retry(reads.store(), reads.settings(), run_id, utc_now())


def move_to_front(run_id: int) -> None:
    """Lets a queued run be the next."""
    jobs.move_to_front(reads.store(), run_id)


def delete_runs(run_ids: Sequence[int]) -> None:
    """Removes runs with all their files; a study goes with its last run."""
    jobs.delete(reads.store(), reads.settings(), run_ids)


def archive_run(run_id: int, is_away: bool) -> None:
    """Puts a run out of the lists, or back."""
    reads.store().archive_run(run_id, utc_now() if is_away else None)


def archive_study(study_id: int, is_away: bool) -> None:
    """Puts a study out of the lists, or back."""
    reads.store().archive_study(study_id, utc_now() if is_away else None)


def extend_study(study: Study, wanted: planning.Extension) -> int:
    """Adds configurations, seeds or epochs to a study; returns how many runs that queued."""
    runs = reads.store().read_runs(study.id)
    configs = planning.plan_extension(study, runs, wanted, reads.settings())
    return len(jobs.extend(reads.store(), reads.settings(), study.id, configs, utc_now()))
