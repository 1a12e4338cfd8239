"""Records for tests of the store and of jobs."""

from engine.records.runs import Checkpoint


def checkpoint_of(epoch, step=None, is_whole=True, path=None):
    """A checkpoint record of run 1, with 8 steps per epoch."""
    step = 8 * epoch if step is None else step
    return Checkpoint(1, epoch, step, is_whole, path or f"{step}.pt", "00", 1, is_best=False)
