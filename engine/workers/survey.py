"""One process looks at one source: faults, figures, examples. Torch-free.

Started by the supervisor as `python -m engine.workers.survey JOB TOKEN`.
"""

import sys
import time
from contextlib import suppress

from engine.data.sources.registry import read_source
from engine.data.survey import summary, survey
from engine.errors import EngineError, StoreError
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.workers import worker_process
from engine.workers.worker_process import End, ShouldStop, StoppedError

PROGRESS_S = 0.5  # between two words on how far it is


def look(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Makes the survey of the job's subject, and draws the examples of its summary."""
    if job.subject is None:
        raise EngineError("this job is about no source")
    told = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if should_stop():
            raise StoppedError
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            with suppress(StoreError):  # a busy database does not hear it
                store.set_progress(job, done / max(1, total), utc_now())

    source = read_source(job.subject, settings)
    survey.make_survey(source, settings, tell)
    summary.draw_all_examples(source, settings, lambda _done, _total: tell(1, 1))
    return RunState.DONE, None


if __name__ == "__main__":
    sys.exit(worker_process.main(sys.argv[1:], look))
