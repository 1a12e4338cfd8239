"""Replaces entries of the catalog of weights in each process that has this folder on its path.

Python imports this module at the start of a process. `tests.support.weights.replace_in_processes`
adds the folder to PYTHONPATH.
"""

import json
import os
from dataclasses import replace

if entries := os.environ.get("CHROMABENCH_TEST_WEIGHTS"):
    from engine import weights

    for name, changes in json.loads(entries).items():
        weights.CATALOG[name] = replace(weights.CATALOG[name], **changes)
