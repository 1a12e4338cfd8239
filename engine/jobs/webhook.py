"""Tells a webhook that a study has ended. Torch-free.

What is posted is JSON with a sentence under `text`, which chat services show as it is.
"""

import http.client
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from engine.records.runs import Run, Study

TIMEOUT_S = 10.0
PAUSES_S = (0.0, 2.0, 10.0)  # before each try


def describe(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """What there is to say of a study that has ended."""
    counts = Counter(str(run.state) for run in runs)
    parts = ", ".join(f"{count} {state}" for state, count in counts.items())
    return {
        "text": f"Study {study.id}, {study.name}, has ended: {parts}.",
        "study": study.id,
        "name": study.name,
        "states": dict(counts),
        "runs": [
            {
                "id": run.id,
                "configuration": run.configuration,
                "seed": run.seed,
                "state": str(run.state),
                "reason": run.reason,
            }
            for run in runs
        ],
    }


def post(webhook: str, about: Mapping[str, Any], pauses_s: Sequence[float] = PAUSES_S) -> bool:
    """Posts it, some times over if need be; whether it was taken. Says so where it was not."""
    body = json.dumps(about).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "chromabench"}
    fault = ""
    for pause in pauses_s:
        time.sleep(pause)
        try:
            request = urllib.request.Request(webhook, body, headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return True
        except (OSError, http.client.HTTPException, ValueError) as error:
            fault = str(error)
    print(f"the webhook was not told of study {about['study']}: {fault}", flush=True)
    return False
