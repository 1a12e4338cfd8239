"""A trained generator as one file for elsewhere, proved on real pictures before it is kept."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.data import batches, packing
from engine.data.sources.registry import read_source
from engine.errors import BadInputError, EngineError
from engine.metrics import features
from engine.networks import backbones
from engine.networks.architectures import build_generator
from engine.networks.layers import Doubling, Halving
from engine.serve import model_cache
from engine.serve.model_cache import Model
from engine.settings import Settings
from engine.store import Store
from engine.system.files import replacing

SUFFIXES = {"safetensors": ".safetensors", "torchscript": ".pt", "onnx": ".onnx"}
N_PICTURES = 20
MOST_APART = 1e-4  # of values in [-1, 1]
MOST_AT_ONCE = 1024  # pictures that a file's first dimension allows
BOUNDARY = "source [N, 3, px, px] float32 in [-1, 1] RGB -> picture, likewise; padded to a square"

Run = Callable[[Tensor], NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """A model file, and how far its pictures are from the checkpoint's.

    Attributes:
        apart: the largest difference of any value, of values in [-1, 1].
        n_pictures: how many pictures of the test split were compared.
    """

    path: Path
    n_bytes: int
    apart: float
    n_pictures: int


@torch.no_grad()
def export(store: Store, settings: Settings, run_id: int, kind: str, path: Path) -> Exported:
    """Writes a run's generator to a file that gives the same pictures.

    Args:
        store: where the run is.
        settings: where its checkpoint and pictures are.
        run_id: which.
        kind: `safetensors`, `torchscript` or `onnx`.
        path: the file, replaced if it is there.

    Raises:
        BadInputError: the run has no checkpoint, or there are no packages for this kind.
        EngineError: the file's pictures are not the checkpoint's; nothing was written.
    """
    if kind == "onnx":
        require_onnx()
    model = model_cache.load(store, settings, run_id, "cpu")
    pictures = _test_pictures(model, settings)
    write = {"safetensors": _safetensors, "torchscript": _torchscript, "onnx": _onnx}[kind]
    wanted = _eager(model.generator)(pictures)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f"model{SUFFIXES[kind]}"
        made = write(model, written, _about(model))
        apart = float(np.abs(made(pictures) - wanted).max())
        if not apart <= MOST_APART:
            raise EngineError(
                f"The {kind} file's pictures differ from the checkpoint's by up to {apart:.2g} "
                f"(at most {MOST_APART:g} is allowed); it was not kept."
            )
        with replacing(path) as file, written.open("rb") as content:
            shutil.copyfileobj(content, file)
            n_bytes = file.tell()
    return Exported(path, n_bytes, apart, len(pictures))


def require_onnx() -> None:
    """Raises `BadInputError` unless the packages of the extra `onnx` are here."""
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        raise BadInputError(
            f"ONNX needs the package {missing[0]}: `pip install 'chromabench[onnx]'`."
        )


def _test_pictures(model: Model, settings: Settings) -> Tensor:
    """Sources of the test split, [N, 3, px, px] in [-1, 1]."""
    source = read_source(model.config.data, settings)
    packed = packing.prepare(source, model.px, settings)
    pairs = batches.load_pairs(packed, "test", N_PICTURES, torch.device("cpu"))
    return torch.cat([sources for sources, _ in batches.evaluation_batches(pairs, N_PICTURES)])


def _about(model: Model) -> dict[str, str]:
    """What a file says of itself."""
    run, config = model.run, model.config
    return {
        "made_by": f"chromabench {version('chromabench')}",
        "boundary": BOUNDARY,
        "expects": model.expects,
        "px": str(model.px),
        "study": str(run.study_id),
        "run": str(run.id),
        "configuration": run.configuration,
        "seed": str(run.seed),
        "epoch": str(model.saved.epoch),
        "checkpoint_sha256": model.saved.sha256,
        "config": config.model_dump_json(),
    }


def _eager(generator: nn.Module) -> Run:
    def run(source: Tensor) -> NDArray[np.float32]:
        with features.exact_float32():
            made: NDArray[np.float32] = generator(source).numpy()
        return made

    return run


def _safetensors(model: Model, path: Path, about: dict[str, str]) -> Run:
    """The weights alone; `networks.build_generator` of the file's `config` takes them."""
    weights = {name: it.contiguous() for name, it in model.generator.state_dict().items()}
    safetensors.torch.save_file(weights, path, about)
    budget = model.config.budget
    encoder = backbones.load_resnet18(None) if budget.generator == "resnet18_unet" else None
    again = build_generator(budget, encoder)
    again.load_state_dict(safetensors.torch.load_file(path))
    return _eager(again.eval())


def _torchscript(model: Model, path: Path, about: dict[str, str]) -> Run:
    """The whole network, for programs that load torch without our code."""
    generator = _plain(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather export its own way; others still read
        traced = torch.jit.trace(generator, _example(model), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path, _extra_files={"about.json": json.dumps(about)})
        again = torch.jit.load(path)  # type: ignore[no-untyped-call]
    return _eager(again)


def _onnx(model: Model, path: Path, about: dict[str, str]) -> Run:
    """The whole network, for ONNX Runtime and its like."""
    import onnx
    import onnxruntime

    count = torch.export.Dim("pictures", min=1, max=MOST_AT_ONCE)
    torch.onnx.export(
        _plain(model),
        (_example(model),),
        path,
        input_names=["source"],
        output_names=["picture"],
        dynamic_shapes=({0: count},),
        external_data=False,
        verbose=False,
    )
    written = onnx.load(path)
    onnx.helper.set_model_props(written, about)
    onnx.save(written, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(source: Tensor) -> NDArray[np.float32]:
        made: NDArray[np.float32] = session.run(None, {"source": source.numpy()})[0]
        return made

    return run


def _plain(model: Model) -> nn.Module:
    """The generator with every convolution as the library has it, whatever the number of maps."""
    for layer in model.generator.modules():
        if isinstance(layer, Halving | Doubling):
            layer.most_rows = 0
    return model.generator


def _example(model: Model) -> Tensor:
    return torch.zeros(2, 3, model.px, model.px)
