"""Loads trained generators and keeps the most recently used ones in memory."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from engine.config import RunConfig, change, source_label
from engine.errors import BadInputError, EngineError
from engine.evaluation.evaluate import as_arrays, to_bytes
from engine.metrics import features
from engine.networks.ink import apply_ink, ink_of
from engine.networks.outputs import LineFill, build_generator
from engine.networks.palette_generator import PaletteGenerator
from engine.options.decodings import Decoding
from engine.records.runs import Checkpoint, Run
from engine.serve.compositing import Answer, Picture
from engine.serve.ranking import served_checkpoint
from engine.settings import Settings
from engine.store import Store
from engine.training import checkpoint, execution
from engine.training.step import autocast

MODEL_CACHE_SIZE = 4


@dataclass(frozen=True)
class Model:
    """A trained generator in evaluation mode, with the run that trained it.

    Attributes:
        run: the run that trained the generator.
        checkpoint: the checkpoint that the weights were loaded from.
        config: the run's configuration, with the device and precision of this machine.
        generator: the network in evaluation mode.
        device: where the network computes.
    """

    run: Run
    checkpoint: Checkpoint
    config: RunConfig
    generator: nn.Module
    device: torch.device

    @property
    def px(self) -> int:
        """Side of the model's squares."""
        return self.config.budget.px

    @property
    def expects(self) -> str:
        """Kind of source that the model was trained on, `sketch` or `grey`."""
        return source_label(self.config.data)

    def choose_decoding(self, text: str | None, seed: int | None = None) -> Decoding | None:
        """Chooses how pictures are read from the palette of the model.

        Args:
            text: the decoding; None: the decoding of the run.
            seed: the seed of random colours, for the rule `sample`; None: 0.

        Returns:
            The decoding; None if the model has no palette.

        Raises:
            BadInputError: the model cannot be decoded in this way.
        """
        config = self.config if text is None else self.config.with_decoding(text)
        decoding = config.decoding
        if seed is None:
            return decoding
        if decoding is None or decoding.rule != "sample":
            rule = "no palette" if decoding is None else f"the decoding {decoding}"
            raise BadInputError(
                f"A seed needs a decoding with the rule sample; this request has {rule}."
            )
        return replace(decoding, seed=seed)

    @torch.no_grad()
    def colorize(self, squares: Picture, decoding: Decoding | None = None) -> list[Answer]:
        """Paints sources.

        Args:
            squares: sources, [N, px, px, 3] bytes.
            decoding: how pictures are read from the palette; None: as the run decodes them.

        Returns:
            The answers in the same order.

        Raises:
            EngineError: the device is out of memory, or the generator's output is not finite.
        """
        try:
            source = torch.from_numpy(squares).to(self.device).permute(0, 3, 1, 2)
            source = source.float().div(127.5).sub(1)
            with features.exact_float32(), autocast(self.config, self.device.type):
                fake, fill = self._paint(source, decoding or self.config.decoding)
        except RuntimeError as error:  # usually out of memory
            raise EngineError(f"The model of run {self.run.id} failed: {error}") from error
        if not bool(fake.isfinite().all()):
            raise EngineError(
                f"The model of run {self.run.id} generated values that are not finite."
            )
        pictures = as_arrays(to_bytes(fake))
        if fill is None:
            return [Answer(picture) for picture in pictures]
        decoding = decoding or self.config.decoding
        is_flat = decoding is not None and decoding.is_flat
        fills = fill.cpu().numpy()
        return [Answer(*pair, is_flat) for pair in zip(pictures, fills, strict=True)]

    def _paint(self, source: Tensor, decoding: Decoding | None) -> tuple[Tensor, Tensor | None]:
        """Paints sources [N, 3, px, px]; returns pictures and, if there are any, their fills."""
        if isinstance(self.generator, PaletteGenerator):
            fill = self.generator.decode_fill(source, decoding)
        elif isinstance(self.generator, LineFill):
            fill = self.generator.decode_fill(source)
        else:
            return self.generator(source).float(), None
        return apply_ink(fill, ink_of(source)), fill


def load_model(store: Store, settings: Settings, run_id: int, device: str = "auto") -> Model:
    """Loads the generator of a run's served checkpoint.

    Args:
        store: the store with the run.
        settings: has the folder of the checkpoints.
        run_id: the run to load.
        device: where the generator computes; `auto` uses a GPU if there is one.

    Raises:
        BadInputError: the run does not exist or has no checkpoint.
        EngineError: the checkpoint is missing or damaged, does not fit the run's networks, or
            does not fit into memory.
    """
    run = store.runs.read(run_id)
    saved = served_checkpoint(store, run_id)
    if saved is None or run.resolved is None:
        raise BadInputError(f"Run {run_id} is {run.state} and has no checkpoint yet.")
    torch_device = execution.choose_device(device)
    config = _config_on_device(run.resolved, torch_device)
    generator = build_generator(config.budget, config.configuration)
    try:
        state = checkpoint.load_from_record(settings.artifacts, saved)
    except OSError as error:
        raise EngineError(f"The checkpoint of run {run_id} cannot be read ({error}).") from error
    try:
        generator.load_state_dict(state.get("averaged") or state["generator"])
    except (RuntimeError, LookupError, TypeError) as error:
        raise EngineError(
            f"The checkpoint of run {run_id} does not fit its networks ({type(error).__name__})."
        ) from error
    try:
        return Model(run, saved, config, generator.eval().to(torch_device), torch_device)
    except RuntimeError as error:
        raise EngineError(f"The model of run {run_id} does not fit into memory: {error}") from error


def _config_on_device(config: RunConfig, device: torch.device) -> RunConfig:
    """Returns the configuration for a device.

    If the run was trained on another type of device, the model computes in float32.
    """
    if config.execution.device == device.type:
        return config
    on_device = change(config.execution, {"device": device.type, "precision": "fp32"})
    return config.model_copy(update={"execution": on_device})


class ModelCache:
    """Thread-safe cache of models, which removes the least recently used model when it is full."""

    def __init__(self, store: Store, settings: Settings, device: str = "auto") -> None:
        self.store, self.settings, self.device = store, settings, device
        self._models: OrderedDict[tuple[int, str, str], Model] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, run_id: int) -> Model:
        """Returns the model of a run's current checkpoint and decoding; loads it if necessary.

        Raises:
            BadInputError: the run does not exist or has no checkpoint.
            EngineError: the checkpoint cannot be loaded; see `load_model`.
        """
        saved, resolved = (
            served_checkpoint(self.store, run_id),
            self.store.runs.read(run_id).resolved,
        )
        decoding = "" if resolved is None else resolved.configuration.decoding
        key = (run_id, "" if saved is None else saved.sha256, decoding)
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            model = load_model(self.store, self.settings, run_id, self.device)
            self._models[key] = model
            while len(self._models) > MODEL_CACHE_SIZE:
                self._models.popitem(last=False)
            return model

    def __len__(self) -> int:
        """Returns the number of models in memory."""
        return len(self._models)
