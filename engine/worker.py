"""One process does one job: it runs the loop and records what the loop yields.

Started by the supervisor as `python -m engine.worker JOB TOKEN`. Every write goes under the
token; a worker that has lost its job leaves without a word in the database.
"""

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

import torch
from torchvision.models import ResNet

from engine import backbones, checkpoint, evaluation, grids, hardware, training, weights
from engine.config import RunConfig
from engine.data import batches, packing
from engine.data.sources import read_source
from engine.errors import DivergedError, EngineError, StoreError
from engine.records import Checkpoint, Evaluation, ImageScore, Job, MetricPoint, RunState, Sample
from engine.settings import Settings
from engine.state import TrainingState, build_state
from engine.store import LostJobError, Store, utc_now

HEARTBEAT_S = 5.0
N_SAMPLES = 8
REPORTED_SPLIT = "test"

ShouldStop = Callable[[], bool]


def main(arguments: list[str]) -> int:
    """Does the job whose id and token are given; the exit status is for the supervisor."""
    job_id, token = int(arguments[0]), arguments[1]
    settings = Settings.from_environment()
    store = Store(settings.database_url)
    job = store.read_job(job_id)
    if job.token != token:
        return 0
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    beating = threading.Thread(target=_beat, args=(store, job, stop), daemon=True)
    beating.start()
    run_job(store, settings, job, stop.is_set)
    return 0


def run_job(store: Store, settings: Settings, job: Job, should_stop: ShouldStop) -> None:
    """Does a job and records how it ended; only here is every exception caught."""
    try:
        state, reason = _Training(store, settings, job).run(should_stop)
    except LostJobError:
        print(f"job {job.id} belongs to another attempt; leaving", flush=True)
        return
    except DivergedError as error:
        state, reason = RunState.DIVERGED, f"diverged: {error}"
    except EngineError as error:
        state, reason = RunState.FAILED, str(error)
    except torch.OutOfMemoryError:
        state, reason = RunState.FAILED, "out of GPU memory; try --set batch with half of it"
        traceback.print_exc()
    except Exception as error:  # the job boundary: the log has the traceback, the run the reason
        state, reason = RunState.FAILED, f"{type(error).__name__}: {error}"
        traceback.print_exc()
    print(f"run {job.run_id} {state}" + (f": {reason}" if reason else ""), flush=True)
    try:
        store.finish_job(job, state, reason, utc_now())
    except LostJobError:
        print(f"job {job.id} was ended by somebody else", flush=True)


class _Training:
    """A training job from its first attempt's decisions to the numbers on the test split."""

    def __init__(self, store: Store, settings: Settings, job: Job) -> None:
        self.store, self.settings, self.job = store, settings, job
        self.run_record = store.read_run(job.run_id)
        self.folder = settings.run_dir(job.run_id)

    def run(self, should_stop: ShouldStop) -> tuple[RunState, str | None]:
        """Prepares, trains, evaluates; returns how it ended."""
        config = self.run_record.config
        self.phase("preparing data")
        packed = packing.prepare(read_source(config.data), config.budget.px, self.settings)
        config = self.resolve(len(packed.members("train", config.budget.n_train)))
        device = hardware.choose_device(config.execution.device)
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
        for event in training.train(config, state, pairs, val_pairs, extract):
            if isinstance(event, training.EpochDone):
                self.record_epoch(config, event, val_pairs)
            else:
                self.record_steps(event)
            if should_stop() and state.epoch < config.budget.epochs:
                return self.stopped(state.epoch)

        self.phase("evaluating")
        self.evaluate(config, state, packed.fingerprint, test_pairs)
        return RunState.DONE, None

    def stopped(self, epoch: int) -> tuple[RunState, str]:
        """Who asked: the user by a row, or the system by a signal alone."""
        if self.store.read_job(self.job.id).stop_requested_at is not None:
            return RunState.STOPPED, f"stopped by the user at epoch {epoch}"
        return RunState.CRASHED, f"ended by the system at epoch {epoch}, perhaps a shutdown"

    def resolve(self, n_train: int) -> RunConfig:
        """Decides what is `auto` at the first attempt; later ones use what was decided."""
        if self.run_record.resolved is not None:
            config = self.run_record.resolved
            torch.set_num_threads(int(config.execution.threads))
            return config
        config = hardware.resolve(self.run_record.config, n_train, self.settings)
        steps = training.steps_per_epoch(config.budget, n_train) * config.budget.epochs
        environment = hardware.describe(hardware.choose_device(config.execution.device))
        self.store.start_run(self.job, config, steps, environment, utc_now())
        print(f"run {self.job.run_id}: {config.model_dump_json()}", flush=True)
        return config

    def build_extract(self, config: RunConfig, device: torch.device) -> training.Extract:
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
        for saved in self.store.read_checkpoints(self.job.run_id)[:1]:
            path = self.settings.artifacts / saved.path
            state.load_state_dict(checkpoint.load(path, saved.sha256))
            print(f"continuing after epoch {state.epoch}", flush=True)

    def record_steps(self, event: training.StepsDone) -> None:
        """Losses of recorded steps, and progress."""
        points = [
            MetricPoint(self.job.run_id, recorded.step, event.epoch, name, value)
            for recorded in event.recorded
            for name, value in recorded.losses.items()
        ]
        self.store.add_metrics(self.job, event.epoch - 1, event.step, points, utc_now())

    def record_epoch(
        self, config: RunConfig, event: training.EpochDone, val_pairs: batches.PairSet
    ) -> None:
        """Commits the metrics, then the samples, then the checkpoint."""
        run_id = self.job.run_id
        points = [
            MetricPoint(run_id, event.step, event.epoch, name, value)
            for name, value in event.metrics.items()
        ]
        self.store.add_metrics(self.job, event.epoch, event.step, points, utc_now())
        self.save_samples(config, event, val_pairs)
        summaries = self.store.read_metric_summaries([run_id])
        best_epoch = next(it.highest_epoch for it in summaries if it.name == "val_psnr")
        path = self.folder / "checkpoints" / f"epoch-{event.epoch:05d}.pt"
        sha256, n_bytes = checkpoint.save(event.state.state_dict(), path)
        saved = Checkpoint(
            run_id=run_id,
            epoch=event.epoch,
            path=self.settings.relative(path),
            sha256=sha256,
            n_bytes=n_bytes,
            is_best=best_epoch == event.epoch,
        )
        for forgotten in self.store.add_checkpoint(self.job, saved, utc_now()):
            (self.settings.artifacts / forgotten.path).unlink(missing_ok=True)

    def save_samples(
        self, config: RunConfig, event: training.EpochDone, val_pairs: batches.PairSet
    ) -> None:
        """Draws the same validation pairs every epoch, in every run of a study."""
        few = batches.colourful(val_pairs, N_SAMPLES)
        fakes = evaluation.generate(config, event.state.sampler, few)
        files = grids.save_samples(
            self.folder / "samples",
            event.epoch,
            few.pixels[:, 0].cpu().numpy(),
            few.pixels[:, 1].cpu().numpy(),
            evaluation.pictures_to_arrays(fakes),
        )
        sample = Sample(
            run_id=self.job.run_id,
            epoch=event.epoch,
            step=event.step,
            grid=self.settings.relative(files.grid),
            source=self.settings.relative(files.source),
            target=self.settings.relative(files.target),
            fake=self.settings.relative(files.fake),
            thumbnail=self.settings.relative(files.thumbnail),
        )
        self.store.add_sample(self.job, sample, utc_now())

    def evaluate(
        self,
        config: RunConfig,
        state: TrainingState,
        fingerprint: str,
        pairs: batches.PairSet,
    ) -> None:
        """Measures the checkpoint that validation chose on the split that is reported."""
        best = next(
            saved for saved in self.store.read_checkpoints(self.job.run_id) if saved.is_best
        )
        if best.epoch != state.epoch:
            path = self.settings.artifacts / best.path
            state.load_state_dict(checkpoint.load(path, best.sha256))
        question = evaluation.Question(
            config, REPORTED_SPLIT, fingerprint, "highest val_psnr of all epochs"
        )
        values = evaluation.evaluate(
            question,
            state.sampler,
            pairs,
            self.settings,
            on_metric=lambda name: self.phase(f"evaluating {name}"),
        )
        run_id, split = self.job.run_id, REPORTED_SPLIT
        found = [
            Evaluation(
                run_id=run_id,
                split=split,
                name=value.name,
                value=value.value,
                n_pictures=value.n_pictures,
                epoch=best.epoch,
                low=value.low,
                high=value.high,
                missing=value.missing,
                note=value.note,
                protocol=value.protocol,
            )
            for value in values
        ]
        scores = [
            ImageScore(run_id, split, picture, value.name, score)
            for value in values
            if value.per_picture is not None
            for picture, score in zip(pairs.names, value.per_picture, strict=True)
        ]
        self.store.add_evaluations(self.job, found, scores, utc_now())

    def phase(self, phase: str) -> None:
        """Says what the run is doing."""
        print(phase, flush=True)
        self.store.set_phase(self.job, phase, utc_now())


def _beat(store: Store, job: Job, stop: threading.Event) -> None:
    """Says every few seconds that this process lives; asks it to leave when it lost the job."""
    while True:
        time.sleep(HEARTBEAT_S)
        try:
            store.beat(job, utc_now())
        except LostJobError:
            stop.set()
            return
        except StoreError as error:
            print(f"no heartbeat this time: {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
