"""Runs training jobs in the process of the test."""

import itertools

from engine.workers import train, worker_process
from tests.support.runs import NOW


def never():
    return False


def run_training_job(store, settings, job, should_stop=lambda: False):
    """Trains and evaluates the run of a claimed job, and records its end."""
    worker_process.run_job(store, settings, job, should_stop, train.train)


def stop_at_check(number):
    """Requests a stop at the n-th check, and at all later checks."""
    count = itertools.count(1)
    return lambda: next(count) >= number


def run_next_job(store, settings, should_stop=never):
    """Runs one attempt of the next job; if it is to stop, a user has requested the stop."""
    job = store.jobs.claim(NOW)

    def request_stop():
        is_stopping = should_stop()
        if is_stopping:
            store.jobs.request_run_stop(job.run_id, NOW)
        return is_stopping

    run_training_job(store, settings, job, request_stop)
    return store.runs.read(job.run_id)
