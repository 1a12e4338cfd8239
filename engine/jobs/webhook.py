"""Posts a message to a webhook when a study has ended.

The message is JSON; its key `text` holds a sentence, which chat services display.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from engine.records.runs import Run, Study

logger = logging.getLogger(__name__)
# urllib3 logs the path of each repeated request, and the path of a webhook is often its secret.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

TIMEOUT_S = 10.0
RETRIES = Retry(
    total=3,
    backoff_factor=2.5,  # s: the first retry follows at once, the next ones after 5 and 10 s
    allowed_methods=["POST"],
    status_forcelist=[408, 429, 500, 502, 503, 504],
    raise_on_status=False,  # the last response is returned
    respect_retry_after_header=False,  # a server could request a pause of hours
)


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


def post(url: str, message: Mapping[str, Any], retries: Retry = RETRIES) -> bool:
    """Posts a message; logs a warning if all attempts fail.

    Args:
        url: the address of the webhook.
        message: the result of `build_message`.
        retries: the number of further attempts, and the pauses before them.

    Returns:
        Whether the webhook accepted the message.
    """
    headers = {"User-Agent": "chromabench"}
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retries))
            response = session.post(url, json=message, headers=headers, timeout=TIMEOUT_S)
        if response.ok:
            return True
        reason = f"{response.status_code} {response.reason}"
    except requests.RequestException as error:
        reason = _reason(error)
    logger.warning("could not post the end of study %s: %s", message["study"], reason)
    return False


def _reason(error: requests.RequestException) -> str:
    """Returns why a request failed, without the address of the webhook, which may be secret."""
    last_failure = getattr(error.args[0], "reason", None) if error.args else None
    return str(last_failure or type(error).__name__)
