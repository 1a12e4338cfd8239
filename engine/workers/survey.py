"""Scans one source: measures its pairs and renders the examples of its summary. Loads no torch.

The supervisor starts this module through `engine.workers`, with the arguments JOB TOKEN.
"""

import sys
from contextlib import suppress

from engine.data.sources.registry import parse_source
from engine.data.survey import summary, survey
from engine.errors import DatabaseUnavailableError, EngineError
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.workers import worker_process
from engine.workers.worker_process import End, Progress, ShouldStop

PROGRESS_EVERY_S = 0.5


def scan_source(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Makes the survey of the job's source, and renders the examples of its summary."""
    if job.subject is None:
        raise EngineError("this job names no source")

    def store_progress(done: int, total: int) -> None:
        with suppress(
            DatabaseUnavailableError
        ):  # progress is not important enough to wait for the database
            store.jobs.set_progress(job, done / max(1, total), utc_now())

    progress = Progress(store_progress, PROGRESS_EVERY_S, should_stop)
    source = parse_source(job.subject, settings)
    survey.make_survey(source, settings, progress.update)
    summary.render_all_examples(source, settings, lambda _done, _total: progress.update(1, 1))
    return RunState.DONE, None


if __name__ == "__main__":
    worker_process.run(sys.argv[1:], scan_source)
