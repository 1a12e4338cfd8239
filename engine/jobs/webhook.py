"""Posts a message to a webhook when a study has ended.

The message is JSON; its key `text` holds a sentence, which chat services display.
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
PAUSES_S = (0.0, 2.0, 10.0)  # before each attempt


def build_message(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """Builds the message about a study that has ended."""
    counts = Counter(str(run.state) for run in runs)
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    return {
        "text": f"Study {study.id}, {study.name}, has ended: {summary}.",
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


def post(url: str, message: Mapping[str, Any], pauses_s: Sequence[float] = PAUSES_S) -> bool:
    """Posts a message, with one attempt after each pause; logs an error if all attempts fail.

    Args:
        url: the address of the webhook.
        message: the result of `build_message`.
        pauses_s: the seconds to wait before each attempt.

    Returns:
        Whether the webhook accepted the message.
    """
    body = json.dumps(message).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "chromabench"}
    last_error = ""
    for pause in pauses_s:
        time.sleep(pause)
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return True
        except (OSError, http.client.HTTPException, ValueError) as error:
            last_error = str(error)
    print(f"could not post the end of study {message['study']}: {last_error}", flush=True)
    return False
