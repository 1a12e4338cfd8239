"""Runs training jobs in the process of the test."""

from engine.workers import train, worker_process


def run_training_job(store, settings, job, should_stop=lambda: False):
    """Trains and evaluates the run of a claimed job, and records its end."""
    worker_process.run_job(store, settings, job, should_stop, train.train)
