"""One process trains one run: it runs the loop and records what the loop yields.

Started by the supervisor as `python -m engine.workers.train JOB TOKEN`.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial

import torch

from engine.config import REPORTED_SPLIT, Budget, RunConfig
from engine.data import batches
from engine.data.batches import PairSet
from engine.errors import EngineError
from engine.evaluation import checkpoint_evaluator, evaluate
from engine.evaluation.checkpoint_evaluator import Court
from engine.networks import backbones
from engine.records.curves import MetricPoint
from engine.records.runs import Job, RunState
from engine.settings import Settings
from engine.store import Store, utc_now
from engine.training import checkpoint, execution, loop
from engine.training.distributed import Team
from engine.training.losses import Extract
from engine.training.state import TrainingState, build_state
from engine.workers import follower, setup, worker_process
from engine.workers.recorder import Recorder
from engine.workers.worker_process import End, ShouldStop, StoppedError

SAVE_EVERY_S = 600.0  # of training; a long epoch is saved in its midst
N_SAMPLES = 8
TEAM_BREAKS_S = 20.0  # within which the end of one of a team is known to the others


def run_job(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> None:
    """Does a training job and records how it ended."""
    worker_process.do(store, settings, job, should_stop, train)


def train(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Trains and evaluates the job's run."""
    team = Team.join()
    training_job = _Training(store, settings, job, should_stop, team)
    try:
        end = training_job.run()
        team.leave()
        return end
    except torch.OutOfMemoryError:
        traceback.print_exc()
        batch = training_job.run_record.config.budget.batch
        way_out = f"try {batch // 2}" if batch > 1 else "try smaller pictures"
        return RunState.FAILED, f"out of GPU memory at batch {batch}; {way_out}"
    except RuntimeError:
        # Where one of those who train together dies, torchrun asks the others to leave.
        if team.size == 1 or not _comes_true(should_stop, TEAM_BREAKS_S):
            raise
        traceback.print_exc()
        return RunState.CRASHED, "a process that trained with it was killed"
    finally:
        team.dismiss()


def _comes_true(condition: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def main(arguments: Sequence[str]) -> int:
    """One of the processes that train a run, mostly the only one; returns the exit status."""
    if int(os.environ.get("RANK", 0)):
        return follower.main()
    ends: list[RunState] = []

    def work(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
        end = train(store, settings, job, should_stop)
        ends.append(end[0])
        return end

    status = worker_process.main(arguments, work)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and ends != [RunState.DONE]:
        # The others may wait for what never comes: torchrun ends them when one of them fails. To
        # take leave of each other, a GPU's library would wait for them too.
        sys.stdout.flush()
        os._exit(1)
    return status


class _Training:
    """A training job from its first attempt's decisions to the numbers on the test split."""

    def __init__(
        self, store: Store, settings: Settings, job: Job, should_stop: ShouldStop, team: Team
    ) -> None:
        self.store, self.settings, self.job, self.team = store, settings, job, team
        self.recorder = Recorder(store, settings, job, should_stop)
        self.run_id = self.recorder.run_id
        self.run_record = store.read_run(self.run_id)

    def run(self) -> End:
        """Prepares, trains, evaluates; returns how it ended."""
        recorder = self.recorder
        recorder.prepare()
        recorder.phase("preparing data")
        packed = setup.pack(self.recorder, self.run_record)
        config = setup.resolve(self.recorder, self.run_record, packed, self.team)
        device = execution.choose_device(config.execution.device)
        court = Court(
            self.settings,
            self.run_id,
            config,
            packed.fingerprint,
            evaluate.load_judges(self.settings, device),
        )
        pairs, val_pairs, test_pairs = (
            batches.load_pairs(packed, split, limit, device)
            for split, limit in (
                ("train", config.budget.n_train),
                ("val", config.budget.n_val),
                ("test", config.budget.n_test),
            )
        )
        extract = backbones.build_extract(config, self.settings, device)
        state = build_state(config, device, setup.build_encoder(config, self.settings))
        saved = recorder.load_latest(state, config.budget.epochs)
        self.team.tell(
            {
                "config": config.model_dump(mode="json"),
                "checkpoint": None if saved is None else (saved.path, saved.sha256),
            }
        )
        for network in (state.generator, state.discriminator):
            self.team.share_statistics(network)

        recorder.phase(setup.describe_warm_up(config) or "training")
        if state.epoch and not state.batches:
            self.validate(state, court, val_pairs)  # where the last attempt was cut off before it
        self.train(config, state, court, pairs, val_pairs, extract)
        self.team.dismiss()

        recorder.phase("evaluating")
        self.evaluate(state, court, test_pairs)
        recorder.tidy(1, config.execution.keep_every)
        return RunState.DONE, None

    def train(
        self,
        config: RunConfig,
        state: TrainingState,
        court: Court,
        pairs: PairSet,
        val_pairs: PairSet,
        extract: Extract,
    ) -> None:
        """Iterates the loop; leaves it between two steps when asked to, the state saved."""
        every, saved_at = config.execution.keep_every, time.monotonic()
        is_warming_up = setup.describe_warm_up(config) is not None
        self.recorder.told_at = time.time()
        for event in loop.train(config, state, pairs, val_pairs, extract, self.team):
            if isinstance(event, loop.EpochDone):
                self.record_epoch(event, court, val_pairs)
                saved_at, self.recorder.told_at = time.monotonic(), time.time()
                if state.epoch < config.budget.epochs:
                    self.recorder.check_stop(f" at epoch {state.epoch}")
                continue
            if isinstance(event, loop.Noted):
                self.recorder.note(event.text)
                continue
            if is_warming_up:
                self.recorder.phase("training")
                is_warming_up = False
            self.recorder.add_steps(event)
            wish = self.recorder.should_stop()
            if wish or time.monotonic() - saved_at > SAVE_EVERY_S:
                self.recorder.save(state, every)
                saved_at = time.monotonic()
            if wish:
                raise StoppedError(f" at epoch {event.epoch}, step {state.step}")

    def record_epoch(self, event: loop.EpochDone, court: Court, val_pairs: PairSet) -> None:
        """Commits the metrics, then the samples, then the checkpoint, then what it is worth."""
        now = time.time()
        points = [
            MetricPoint(self.run_id, event.step, event.epoch, name, value, at=now)
            for name, value in event.metrics.items()
        ]
        recorder, state, config = self.recorder, event.state, court.config
        recorder.require_points(event.epoch, event.step, points)
        few = batches.colourful(val_pairs, N_SAMPLES)
        fakes = evaluate.predict(config, state.sampler, few)
        sources, targets = few.sources.cpu().numpy(), few.targets.cpu().numpy()
        recorder.add_sample(event.epoch, event.step, sources, targets, fakes)
        is_last = event.epoch == config.budget.epochs
        if recorder.save(state, config.execution.keep_every, is_last):
            self.validate(state, court, val_pairs)

    def validate(self, state: TrainingState, court: Court, val_pairs: PairSet) -> None:
        """Judges the checkpoint where that is due and chooses the best so far.

        A budget that judges once takes its last epoch.
        """
        run_id, budget, store = self.run_id, court.config.budget, self.store
        if state.epoch not in budget.evaluated_epochs:
            return
        if len(budget.evaluated_epochs) == 1:  # there is nothing to choose between
            self.choose(state.epoch)
            return
        judged = store.read_evaluations([run_id], "val")
        if not any(it.epoch == state.epoch for it in judged):
            tell = self.recorder.progress(f"judging epoch {state.epoch}", len(val_pairs))
            judgement = court.validate(state, val_pairs, tell)
            self.recorder.write(lambda: store.add_judgement(self.job, judgement, utc_now()))
            judged += judgement.evaluations
            self.recorder.phase("training")
        kept = {saved.epoch for saved in store.read_checkpoints(run_id) if saved.is_whole}
        best = checkpoint_evaluator.choose(
            [it for it in judged if it.epoch in kept], budget.choose_by
        )
        if best is None and state.epoch == budget.epochs:
            best = state.epoch
            print(f"no epoch has a {budget.choose_by}: the last is taken", flush=True)
        if best is not None:
            self.choose(best)

    def choose(self, epoch: int) -> None:
        """Makes an epoch's checkpoint the one that counts."""
        self.recorder.write(lambda: self.store.choose_checkpoint(self.job, epoch, utc_now()))

    def evaluate(self, state: TrainingState, court: Court, pairs: PairSet) -> None:
        """Measures the last checkpoint and the chosen one on the split that is reported."""
        machine = execution.describe(pairs.device)
        self.require_chosen(court.config.budget)
        last = court.config.budget.epochs
        for saved in self.store.read_checkpoints(self.run_id):
            if not saved.is_whole or not (saved.is_best or saved.epoch == last):
                continue
            role = "chosen" if saved.is_best else "last"
            if saved.epoch != state.epoch:
                state.load_state_dict(checkpoint.load_saved(self.settings.artifacts, saved))
            tell = self.recorder.progress(f"evaluating the {role} epoch, {saved.epoch}", len(pairs))
            judgement = court.judge(state, REPORTED_SPLIT, pairs, machine, tell)
            self.recorder.write(partial(self.store.add_judgement, self.job, judgement, utc_now()))

    def require_chosen(self, budget: Budget) -> None:
        """Makes sure that the chosen checkpoint can be read, or chooses the next best one."""
        while True:
            saved = self.store.read_checkpoints(self.run_id)
            chosen = next((it for it in saved if it.is_best), None)
            try:
                if chosen is not None and chosen.epoch != budget.epochs:
                    checkpoint.load_saved(self.settings.artifacts, chosen)
                return
            except EngineError as error:
                self.recorder.note(str(error))
            assert chosen is not None
            self.recorder.write(partial(self.store.drop_checkpoint, self.job, chosen, utc_now()))
            kept = {it.epoch for it in saved if it.is_whole and it is not chosen}
            judged = self.store.read_evaluations([self.run_id], "val")
            best = checkpoint_evaluator.choose(
                [it for it in judged if it.epoch in kept], budget.choose_by
            )
            self.recorder.note(f"epoch {best or budget.epochs} was chosen in its place")
            self.choose(best or budget.epochs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
