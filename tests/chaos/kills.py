"""Workers and supervisors are killed at random moments; the outcome is compared with peace."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.records.runs import Job, RunState
from engine.system import processes
from tests.chaos.installation import Lab, lab, same

SUPERVISORS = 0.15  # the share of kills that hit one
AT_ONCE = 0.15  # the share of the others that hit whatever is under way
AIMS = ("training", "training", "checkpoint", "samples", "evaluating")  # of the rest
PATIENCE_S = 8.0  # for that to be under way
SPREAD = 0.95  # the kills are spread over so much of the work, so that every run has its share


@dataclass(frozen=True)
class Outcome:
    """What was left after the kills.

    Attributes:
        kills: what was under way -> how many.
        attempts: of each run.
        is_sound: whether the database file is.
        missing, extra, different: recorded figures against those of peace.
        other_weights: runs whose final state is another one.
    """

    kills: Counter[str]
    attempts: list[int]
    is_sound: bool
    all_done: bool
    missing: int
    extra: int
    different: int
    other_weights: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost or doubled."""
        wrong = self.missing + self.extra + self.different + self.other_weights
        return self.is_sound and self.all_done and not wrong


def compare_with_peace(
    folder: Path,
    shared: Path,
    study: Callable[[Lab], object],
    n_kills: int,
    seed: int,
    say: Callable[[str], None],
) -> Outcome:
    """Runs a study in peace, and again under fire.

    Args:
        folder: empty.
        shared: as `prepare_shared` made it.
        study: submits runs to a lab, the same to both.
        n_kills: how many; some hit supervisors.
        seed: of the moments.
        say: told what is going on.
    """
    with lab(folder / "peace", shared) as peace, lab(folder / "fire", shared) as fire:
        study(peace)
        say("in peace")
        peace.finish()
        study(fire)
        kills = _kill(fire, n_kills, random.Random(seed), say)
        say("to the end")
        fire.finish()

        expected, found = peace.figures(), fire.figures()
        both = expected.keys() & found.keys()
        pairs = zip(peace.store.read_runs(), fire.store.read_runs(), strict=True)
        return Outcome(
            kills=kills,
            attempts=[run.attempt for run in fire.store.read_runs()],
            is_sound=fire.is_sound(),
            all_done=fire.is_done(),
            missing=len(expected.keys() - found.keys()),
            extra=fire.count_points() - peace.count_points(),
            different=sum(expected[key] != found[key] for key in both),
            other_weights=sum(
                not same(peace.weights(one), fire.weights(other)) for one, other in pairs
            ),
        )


def _kill(fire: Lab, count: int, chance: random.Random, say: Callable[[str], None]) -> Counter[str]:
    """Kills at the pace of the work: neither are all over early, nor is the work done first."""
    kills: Counter[str] = Counter()
    while kills.total() < count and not fire.is_done():
        fire.supervise()
        fire.resume_ended()
        done = _progress(fire)
        if done < SPREAD * kills.total() / count:
            time.sleep(0.2)
            continue
        is_late = done > (kills.total() + 1) / count
        if not is_late:
            time.sleep(chance.uniform(0.0, 3.0))
        if chance.random() < SUPERVISORS and fire.supervisor is not None:
            fire.supervisor.kill()
            fire.supervisor.wait()
            kills["supervisor"] += 1
        elif working := fire.working():
            job = chance.choice(working)
            under_way = _phase(fire, job.run_id or 0) if is_late else _aim(fire, job, chance)
            if _strike(job):
                kills[under_way] += 1
        say(f"under fire: {kills.total()} of {count} kills")
    return kills


def _progress(fire: Lab) -> float:
    runs = fire.store.read_runs()
    return sum(run.state == RunState.DONE or run.progress for run in runs) / len(runs)


def _aim(fire: Lab, job: Job, chance: random.Random) -> str:
    """Waits for what the kill is to hit; says what is under way then."""
    assert job.run_id is not None
    folder, run_id = fire.settings.run_dir(job.run_id), job.run_id
    if chance.random() < AT_ONCE:
        return _phase(fire, run_id)
    aim = chance.choice(AIMS)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if aim == "checkpoint" and any(folder.glob("checkpoints/*.partial")):
            return "writing a checkpoint"
        if aim == "samples" and any(folder.glob("samples/*.partial")):
            return "writing samples"
        if aim in ("training", "evaluating") and _phase(fire, run_id) == aim:
            time.sleep(chance.uniform(0.0, 2.0))
            break
        time.sleep(0.002 if aim in ("checkpoint", "samples") else 0.05)
    return _phase(fire, run_id)


def _phase(fire: Lab, run_id: int) -> str:
    phase = fire.store.read_run(run_id).phase or "between"
    return "evaluating" if phase.startswith(("evaluating", "judging")) else phase


def _strike(job: Job) -> bool:
    """SIGKILL, if it still is that process."""
    if job.process is None or not processes.is_alive(job.process):
        return False
    os.kill(int(job.process.split("/")[2]), signal.SIGKILL)
    return True
