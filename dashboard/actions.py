"""What pages may do. With `reads`, the only file here that knows the store."""

import hashlib
from collections.abc import Sequence

from dashboard import reads
from engine import jobs
from engine.config import RunConfig
from engine.presets import DEFAULT_CONFIGURATIONS
from engine.records import RunState
from engine.store import utc_now


def start_study(configs: Sequence[RunConfig], name: str, key: str) -> int:
    """Stores a study and queues its runs; the same press on the same form is the same study."""
    form = "".join(config.model_dump_json() for config in configs) + name
    press = f"{key}-{hashlib.sha256(form.encode()).hexdigest()[:16]}"
    study, _ = jobs.submit(reads.store(), reads.settings(), configs, name, press, utc_now())
    return study.id


def start_demo(key: str) -> int:
    """The demo study, as `make demo` has it."""
    plan = reads.plan("openmoji", "demo", DEFAULT_CONFIGURATIONS, 1, ())
    return start_study(plan.configs, plan.name, key)


def stop_run(run_id: int) -> RunState:
    """Stops a queued run at once, asks a running one to stop."""
    return jobs.cancel(reads.store(), reads.settings(), run_id, utc_now())
