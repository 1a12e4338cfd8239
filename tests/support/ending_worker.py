"""A worker whose job ends in the way that the variable `ENDING` names."""

import ctypes
import os
import signal
import sys
import warnings

from engine.records.runs import RunState
from engine.workers import worker_process

if os.environ["ENDING"] == "import":
    raise ImportError("libcudart.so.12: cannot open shared object file")


def work(store, settings, job, should_stop):
    """Ends the job, or its process."""
    sys.stdout.write("a line that a library prints\n")
    warnings.warn("a warning of a library", stacklevel=1)
    match os.environ["ENDING"]:
        case "error":
            raise ValueError("12 is no colour\nit has one channel")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fault":
            ctypes.string_at(0)
    return RunState.DONE, None


if __name__ == "__main__":
    worker_process.run(sys.argv[1:], work)
