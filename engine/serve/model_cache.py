"""Trained generators in memory, ready to colour squares of pixels."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from engine.config import RunConfig, change, source_label
from engine.errors import BadInputError, EngineError
from engine.evaluation.evaluate import as_arrays, to_bytes
from engine.metrics import features
from engine.networks import backbones
from engine.networks.architectures import build_generator
from engine.records.runs import Checkpoint, Run
from engine.serve.compositing import Picture
from engine.serve.ranking import chosen_checkpoint
from engine.settings import Settings
from engine.store import Store
from engine.training import checkpoint, execution
from engine.training.step import autocast

KEPT = 4  # models in memory at a time


@dataclass(frozen=True)
class Model:
    """A generator as it was evaluated.

    Attributes:
        config: as the run was trained; its precision is what this machine computes in.
    """

    run: Run
    saved: Checkpoint
    config: RunConfig
    generator: nn.Module
    device: torch.device

    @property
    def px(self) -> int:
        """Side of its pictures."""
        return self.config.budget.px

    @property
    def expects(self) -> str:
        """What it is given: `sketch` or `grey`."""
        return source_label(self.config.data)

    @torch.no_grad()
    def colour(self, squares: Picture) -> Picture:
        """[N, px, px, 3] bytes -> likewise, in the order they came.

        Raises:
            EngineError: the generator gives values that no picture has.
        """
        try:
            source = torch.from_numpy(squares).to(self.device).permute(0, 3, 1, 2)
            source = source.float().div(127.5).sub(1)
            with features.exact_float32(), autocast(self.config, self.device.type):
                made = self.generator(source).float()
        except RuntimeError as error:  # out of memory, mostly
            raise EngineError(f"Run {self.run.id} cannot answer for now: {error}") from error
        if not bool(made.isfinite().all()):
            raise EngineError(f"Run {self.run.id} gave values that are no colours.")
        return as_arrays(to_bytes(made))


def load(store: Store, settings: Settings, run_id: int, device: str = "auto") -> Model:
    """Loads the chosen checkpoint of a run.

    Args:
        store: where the run is.
        settings: where its files are.
        run_id: which.
        device: where it computes; `auto`: a GPU where there is one.

    Raises:
        BadInputError: there is no such run, or it has no checkpoint.
        EngineError: the checkpoint is missing, damaged or of other networks.
    """
    run = store.read_run(run_id)
    kept = chosen_checkpoint(store, run_id)
    if kept is None or run.resolved is None:
        raise BadInputError(f"Run {run_id} is {run.state} and has no checkpoint yet.")
    place = execution.choose_device(device)
    config = _as_here(run.resolved, place)
    generator = build_generator(
        config.budget,
        backbones.load_resnet18(None) if config.budget.generator == "resnet18_unet" else None,
    )
    try:
        state = checkpoint.load_saved(settings.artifacts, kept)
    except OSError as error:
        raise EngineError(f"The checkpoint of run {run_id} cannot be read ({error}).") from error
    try:
        generator.load_state_dict(state.get("averaged") or state["generator"])
    except (RuntimeError, LookupError, TypeError) as error:
        raise EngineError(
            f"The checkpoint of run {run_id} is none of its networks ({type(error).__name__})."
        ) from error
    try:
        return Model(run, kept, config, generator.eval().to(place), place)
    except RuntimeError as error:
        raise EngineError(f"There is no room for the model of run {run_id}: {error}") from error


def _as_here(config: RunConfig, device: torch.device) -> RunConfig:
    """The run as this machine computes it: in float32 unless it is the kind it was trained on."""
    if config.execution.device == device.type:
        return config
    on_device = change(config.execution, {"device": device.type, "precision": "fp32"})
    return config.model_copy(update={"execution": on_device})


class Shelf:
    """The models in memory, the least used one making room for a new one; for many threads."""

    def __init__(self, store: Store, settings: Settings, device: str = "auto") -> None:
        self.store, self.settings, self.device = store, settings, device
        self._models: OrderedDict[tuple[int, str], Model] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, run_id: int) -> Model:
        """The model of a run as its checkpoint is now, loaded if it is not here.

        Raises:
            BadInputError, EngineError: as `load`.
        """
        saved = chosen_checkpoint(self.store, run_id)
        key = (run_id, "" if saved is None else saved.sha256)
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            model = load(self.store, self.settings, run_id, self.device)
            self._models[key] = model
            while len(self._models) > KEPT:
                self._models.popitem(last=False)
            return model

    def __len__(self) -> int:
        """How many models are in memory."""
        return len(self._models)
