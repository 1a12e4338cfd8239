"""Starts a process of a job: `python -m engine.workers SUBJECT MODULE ARGUMENTS`.

The log is configured before the module is imported, so that a failed import of torch is logged like
any other error. With several ranks, the module is torchrun, which starts this program again.
"""

import importlib
import os
import runpy
import sys

from engine.system import logs

TORCHRUN = "torch.distributed.run"


def main() -> None:
    """Configures the log of this process and runs a module as the main program."""
    subject, module, *arguments = sys.argv[1:]
    rank = os.environ.get("RANK")
    logs.configure(subject if rank is None else f"{subject}, rank {rank}")
    importlib.import_module(module.rpartition(".")[0])  # for torchrun, this imports torch
    logs.adopt_loggers()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:
        # torchrun has logged which rank failed, and the traceback would hide the reason above it.
        if module == TORCHRUN and type(error).__name__ == "ChildFailedError":
            sys.exit(1)
        raise


if __name__ == "__main__":
    main()
