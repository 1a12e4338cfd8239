"""Stops at random moments, deaths and silences: how soon they are seen, and what is left."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.records.runs import RunState
from engine.store import utc_now
from engine.system import processes
from engine.training import checkpoint
from tests.chaos.installation import Lab, lab, wait_until


@dataclass(frozen=True)
class Stops:
    """What came of asking runs to stop.

    Attributes:
        seconds: from the wish to the recorded end, each.
        unloadable: checkpoints that could not be loaded.
        left: processes that were still there.
    """

    seconds: list[float]
    unloadable: int
    left: int


def stop_often(
    folder: Path, shared: Path, count: int, seed: int, say: Callable[[str], None]
) -> Stops:
    """Stops a run so many times, at random moments of its life, and resumes it each time."""
    chance, seconds, unloadable = random.Random(seed), [], 0
    with lab(folder, shared, slots=1) as place:
        (run,) = place.submit(["standard"], 1, epochs="100000")
        left = 0
        while len(seconds) < count:
            place.supervise()
            place.store.requeue(run.id, utc_now())
            wait_until(lambda: bool(place.working()), 60)
            time.sleep(chance.uniform(0.0, 8.0))
            (job,) = place.working()
            began = time.monotonic()
            place.store.request_stop(run.id, utc_now())
            wait_until(lambda: place.store.read_run(run.id).state.is_finished(), 60)
            seconds.append(time.monotonic() - began)
            gone = wait_until(lambda it=job: not processes.is_alive(str(it.process)), 5)
            left += not gone
            for saved in place.store.read_checkpoints(run.id):
                try:
                    checkpoint.load_saved(place.settings.artifacts, saved)
                except Exception:  # whatever is wrong with it, it counts
                    unloadable += 1
            say(f"{len(seconds)} of {count} stops, the last after {seconds[-1]:.1f} s")
    return Stops(seconds, unloadable, left)


@dataclass(frozen=True)
class Deaths:
    """How soon a death is seen, and a silence not taken for one."""

    seen_after_s: list[float]
    silence_s: float
    survived_silence: bool


def die_and_be_silent(
    folder: Path, shared: Path, deaths: int, silence_s: float, say: Callable[[str], None]
) -> Deaths:
    """Kills a worker several times; then halts one for a while."""
    with lab(folder, shared, slots=1) as place:
        (run,) = place.submit(["standard"], 1, epochs="100000")
        seen = [_die(place, run.id, say) for _ in range(deaths)]
        place.store.requeue(run.id, utc_now())
        place.supervise()
        wait_until(lambda: bool(place.working()), 60)
        (job,) = place.working()
        attempt, pid = job.attempt, int(str(job.process).split("/")[2])
        os.kill(pid, signal.SIGSTOP)
        say(f"silent for {silence_s:.0f} s")
        deadline, survived = time.monotonic() + silence_s, True
        while time.monotonic() < deadline:
            now = place.store.read_run(run.id)
            survived = survived and (now.state, now.attempt) == (RunState.RUNNING, attempt)
            time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
        step = place.store.read_run(run.id).step
        survived = survived and wait_until(lambda: place.store.read_run(run.id).step > step, 60)
        return Deaths(seen, silence_s, survived)


def _die(place: Lab, run_id: int, say: Callable[[str], None]) -> float:
    place.store.requeue(run_id, utc_now())
    place.supervise()
    wait_until(lambda: bool(place.working()), 60)
    (job,) = place.working()
    began = time.monotonic()
    os.kill(int(str(job.process).split("/")[2]), signal.SIGKILL)
    seen = wait_until(lambda: place.store.read_run(run_id).state == RunState.CRASHED, 30)
    say(f"a death was seen after {time.monotonic() - began:.1f} s")
    return time.monotonic() - began if seen else float("inf")
