"""One process trains one run: it runs the loop and records what the loop yields.

Started by the supervisor as `python -m engine.worker JOB TOKEN`.
"""

import sys
import time
import traceback
from collections.abc import Callable, Sequence

import torch
from torchvision.models import ResNet

from engine import (
    attempt,
    backbones,
    checkpoint,
    evaluation,
    grids,
    hardware,
    judging,
    steps,
    training,
    weights,
)
from engine.attempt import End, ShouldStop
from engine.config import RunConfig
from engine.data import batches, packing, summary
from engine.data.batches import PairSet
from engine.data.packing import PackedPairs
from engine.data.sources import read_source
from engine.errors import EngineError
from engine.judging import Court
from engine.records import Checkpoint, Job, MetricPoint, RunState, Sample
from engine.report import REPORTED_SPLIT
from engine.settings import Settings
from engine.state import TrainingState, build_state
from engine.store import Store, utc_now

PROGRESS_S = 2.0  # between two words on how far an evaluation is
N_SAMPLES = 8


def run_job(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> None:
    """Does a training job and records how it ended."""
    attempt.do(store, settings, job, should_stop, train)


def train(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> End:
    """Trains and evaluates the job's run."""
    try:
        return _Training(store, settings, job, should_stop).run()
    except torch.OutOfMemoryError:
        traceback.print_exc()
        return RunState.FAILED, "out of GPU memory; try --set batch with half of it"


class _StoppedError(Exception):
    """Somebody asked it to stop before the first epoch."""


class _Training:
    """A training job from its first attempt's decisions to the numbers on the test split."""

    def __init__(self, store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> None:
        assert job.run_id is not None, "a training job has a run"
        self.store, self.settings, self.job, self.run_id = store, settings, job, job.run_id
        self.should_stop = should_stop
        self.run_record = store.read_run(self.run_id)
        self.folder = settings.run_dir(self.run_id)

    def run(self) -> End:
        """Prepares, trains, evaluates; returns how it ended."""
        config = self.run_record.config
        self.phase("preparing data")
        try:
            packed = self.prepare(config)
        except _StoppedError:
            return attempt.stopped(self.store, self.job, " before it began")
        config = self.resolve(packed)
        device = hardware.choose_device(config.execution.device)
        court = Court(
            self.settings,
            self.run_id,
            config,
            packed.fingerprint,
            evaluation.load_judges(self.settings, device),
        )
        pairs, val_pairs, test_pairs = (
            batches.load_pairs(packed, split, limit, device)
            for split, limit in (
                ("train", config.budget.n_train),
                ("val", config.budget.n_val),
                ("test", config.budget.n_test),
            )
        )
        extract = self.build_extract(config, device)
        state = build_state(config, device, self.build_encoder(config))
        self.load_latest(state)

        self.phase("training")
        if state.epoch:
            self.validate(state, court, val_pairs)  # where the last attempt was cut off before it
        for event in training.train(config, state, pairs, val_pairs, extract):
            if isinstance(event, training.EpochDone):
                self.record_epoch(event, court, val_pairs)
            else:
                self.record_steps(event)
            if self.should_stop() and state.epoch < config.budget.epochs:
                return attempt.stopped(self.store, self.job, f" at epoch {state.epoch}")

        self.phase("evaluating")
        self.evaluate(state, court, test_pairs)
        return RunState.DONE, None

    def prepare(self, config: RunConfig) -> PackedPairs:
        """The packed pairs, the same that the study's other runs are trained on.

        Raises:
            EngineError: the pictures have changed since the study began.
        """
        source = read_source(config.data, self.settings)
        if changed := summary.changed_since(source, self.settings):
            print(changed, flush=True)
        told = self.progress("packing", len(source.names()))

        def tell(done: int, _total: int) -> None:
            if self.should_stop():
                raise _StoppedError
            told(done)

        packed = packing.prepare(source, config.budget.px, self.settings, tell)
        for fault in packed.left_out:
            print(f"left out: {fault.file}: {fault.detail}", flush=True)
        for run in self.store.read_runs(self.run_record.study_id):
            seen = (run.environment or {}).get("data_fingerprint", packed.fingerprint)
            if seen != packed.fingerprint:
                raise EngineError(
                    f"the pictures of {source.title} have changed since run {run.id} of this study "
                    "began; their numbers could not be compared. Start a new study"
                )
        return packed

    def resolve(self, packed: PackedPairs) -> RunConfig:
        """Decides what is `auto` at the first attempt; later ones use what was decided."""
        if self.run_record.resolved is not None:
            config = self.run_record.resolved
            torch.set_num_threads(int(config.execution.threads))
            return config
        n_train = len(packed.members("train", self.run_record.config.budget.n_train))
        config = hardware.resolve(self.run_record.config, n_train, self.settings)
        n_steps = training.steps_per_epoch(config.budget, n_train) * config.budget.epochs
        environment = {
            **hardware.describe(hardware.choose_device(config.execution.device)),
            "data_fingerprint": packed.fingerprint,
        }
        self.store.start_run(self.job, config, n_steps, environment, utc_now())
        print(f"run {self.run_id}: {config.model_dump_json()}", flush=True)
        return config

    def build_extract(self, config: RunConfig, device: torch.device) -> steps.Extract:
        """The feature maps of the perceptual term, where the recipe has one."""
        if "perceptual" not in config.configuration.recipe.names:
            return lambda pictures: ()
        chosen = config.execution.perceptual_features
        features = backbones.PerceptualFeatures(chosen, self.settings)
        return features.to(device)

    def build_encoder(self, config: RunConfig) -> ResNet | None:
        """The ResNet-18 of study 2's generator, starting as was chosen before the start."""
        if config.budget.generator != "resnet18_unet":
            return None
        if config.execution.encoder_weights == "none":
            return backbones.load_resnet18(None)
        return backbones.load_resnet18(weights.require("resnet18", self.settings)[0])

    def load_latest(self, state: TrainingState) -> None:
        """Continues where an earlier attempt left a checkpoint."""
        for saved in self.store.read_checkpoints(self.run_id)[:1]:
            path = self.settings.artifacts / saved.path
            state.load_state_dict(checkpoint.load(path, saved.sha256))
            print(f"continuing after epoch {state.epoch}", flush=True)

    def record_steps(self, event: training.StepsDone) -> None:
        """Losses of recorded steps, and progress."""
        points = [
            MetricPoint(self.run_id, recorded.step, event.epoch, name, value)
            for recorded in event.recorded
            for name, value in recorded.losses.items()
        ]
        self.store.add_metrics(self.job, event.epoch - 1, event.step, points, utc_now())

    def record_epoch(self, event: training.EpochDone, court: Court, val_pairs: PairSet) -> None:
        """Commits the metrics, then the samples, then the checkpoint, then what it is worth."""
        run_id = self.run_id
        points = [
            MetricPoint(run_id, event.step, event.epoch, name, value)
            for name, value in event.metrics.items()
        ]
        self.store.add_metrics(self.job, event.epoch, event.step, points, utc_now())
        self.save_samples(court.config, event, val_pairs)
        path = self.folder / "checkpoints" / f"epoch-{event.epoch:05d}.pt"
        sha256, n_bytes = checkpoint.save(event.state.state_dict(), path)
        name = self.settings.relative(path)
        saved = Checkpoint(run_id, event.epoch, name, sha256, n_bytes, is_best=False)
        self.forget(self.store.add_checkpoint(self.job, saved, utc_now()))
        self.validate(event.state, court, val_pairs)

    def validate(self, state: TrainingState, court: Court, val_pairs: PairSet) -> None:
        """Judges the checkpoint where that is due and chooses the best so far.

        A budget that judges once takes its last epoch.
        """
        run_id, budget = self.run_id, court.config.budget
        if state.epoch not in budget.evaluated_epochs:
            return
        if len(budget.evaluated_epochs) == 1:  # there is nothing to choose between
            self.forget(self.store.choose_checkpoint(self.job, state.epoch, utc_now()))
            return
        judged = self.store.read_evaluations([run_id], "val")
        if not any(it.epoch == state.epoch for it in judged):
            tell = self.progress(f"judging epoch {state.epoch}", len(val_pairs))
            judgement = court.validate(state, val_pairs, tell)
            self.store.add_judgement(self.job, judgement, utc_now())
            judged += judgement.evaluations
            self.phase("training")
        kept = {saved.epoch for saved in self.store.read_checkpoints(run_id)}
        best = judging.choose([it for it in judged if it.epoch in kept], budget.choose_by)
        if best is None and state.epoch == budget.epochs:
            best = state.epoch
            print(f"no epoch has a {budget.choose_by}: the last is taken", flush=True)
        if best is not None:
            self.forget(self.store.choose_checkpoint(self.job, best, utc_now()))

    def forget(self, forgotten: Sequence[Checkpoint]) -> None:
        """Removes the files of checkpoints that the store has forgotten."""
        for saved in forgotten:
            (self.settings.artifacts / saved.path).unlink(missing_ok=True)

    def save_samples(
        self, config: RunConfig, event: training.EpochDone, val_pairs: PairSet
    ) -> None:
        """Draws the same validation pairs every epoch, in every run of a study."""
        few = batches.colourful(val_pairs, N_SAMPLES)
        fakes = evaluation.predict(config, event.state.sampler, few)
        files = grids.save_samples(
            self.folder / "samples",
            event.epoch,
            few.sources.cpu().numpy(),
            few.targets.cpu().numpy(),
            fakes,
        )
        sample = Sample(
            run_id=self.run_id,
            epoch=event.epoch,
            step=event.step,
            grid=self.settings.relative(files.grid),
            source=self.settings.relative(files.source),
            target=self.settings.relative(files.target),
            fake=self.settings.relative(files.fake),
            thumbnail=self.settings.relative(files.thumbnail),
        )
        self.store.add_sample(self.job, sample, utc_now())

    def evaluate(self, state: TrainingState, court: Court, pairs: PairSet) -> None:
        """Measures the last checkpoint and the chosen one on the split that is reported."""
        machine = hardware.describe(pairs.device)
        for saved in self.store.read_checkpoints(self.run_id):
            role = "chosen" if saved.is_best else "last"
            if saved.epoch != state.epoch:
                path = self.settings.artifacts / saved.path
                state.load_state_dict(checkpoint.load(path, saved.sha256))
            tell = self.progress(f"evaluating the {role} epoch, {saved.epoch}", len(pairs))
            judgement = court.judge(state, REPORTED_SPLIT, pairs, machine, tell)
            self.store.add_judgement(self.job, judgement, utc_now())

    def progress(self, doing: str, n_pictures: int) -> Callable[[int], None]:
        """Says that it is doing something with pictures; what is returned says how far it is."""
        self.phase(doing)
        told = time.monotonic()

        def tell(done: int) -> None:
            nonlocal told
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                self.store.set_phase(self.job, f"{doing}: {done} of {n_pictures}", utc_now())

        return tell

    def phase(self, phase: str) -> None:
        """Says what the run is doing."""
        print(phase, flush=True)
        self.store.set_phase(self.job, phase, utc_now())


if __name__ == "__main__":
    sys.exit(attempt.main(sys.argv[1:], train))
