"""Exports a generator as safetensors, TorchScript or ONNX, and verifies the outputs of the file."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.data import batches, packing
from engine.data.sources.registry import parse_source
from engine.errors import BadInputError, EngineError
from engine.metrics import features
from engine.networks.layers import DownConv, UpConv
from engine.networks.outputs import build_generator
from engine.networks.palette_generator import PaletteGenerator
from engine.serve import model_cache
from engine.serve.model_cache import Model
from engine.settings import Settings, read_version
from engine.store import Store
from engine.system import extras
from engine.system.files import replacing

SUFFIXES = {"safetensors": ".safetensors", "torchscript": ".pt", "onnx": ".onnx"}
N_COMPARED = 20
# Largest allowed difference between the outputs of the file and of the checkpoint, both in [-1, 1].
MAX_DIFFERENCE = 1e-4
# A decoding chooses between colours, which enlarges differences by rounding: one grey level of 255.
MAX_DECODED_DIFFERENCE = 2 / 255
MAX_ONNX_BATCH = 1024
INTERFACE = (
    "source [N, 3, px, px] float32 in [-1, 1] RGB -> picture of the same shape and range; pictures "
    "of other shapes are padded to a square"
)

# Runs an exported model: source -> fake, both [N, 3, px, px] in [-1, 1].
ForwardFn = Callable[[Tensor], NDArray[np.float32]]


@dataclass(frozen=True)
class ExportedModel:
    """An exported model file.

    Attributes:
        path: the file.
        n_bytes: size of the file.
        max_difference: largest difference between a value of the file's outputs and the
            checkpoint's, both in [-1, 1].
        n_compared: number of pictures of the test split that were compared.
    """

    path: Path
    n_bytes: int
    max_difference: float
    n_compared: int


@torch.no_grad()
def export_model(
    store: Store, settings: Settings, run_id: int, file_format: str, path: Path
) -> ExportedModel:
    """Writes a run's generator to a file and verifies that the file gives the same pictures.

    Args:
        store: the store with the run.
        settings: has the folder of checkpoints and packed pairs.
        run_id: the run to export.
        file_format: `safetensors`, `torchscript` or `onnx`.
        path: the file to write; an existing file is replaced.

    Raises:
        BadInputError: the run has no checkpoint, the packages for this format are missing, or the
            format cannot contain the decoding.
        EngineError: the file's outputs differ from the checkpoint's; nothing was written.
    """
    if file_format == "onnx":
        extras.require("onnx", "The format onnx")
    model = model_cache.load_model(store, settings, run_id, "cpu")
    _require_repeatable_decoding(model, file_format)
    sources = _test_sources(model, settings)
    expected = _run_generator(model.generator)(sources)
    writers = {
        "safetensors": _write_safetensors,
        "torchscript": _write_torchscript,
        "onnx": _write_onnx,
    }
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"model{SUFFIXES[file_format]}"
        run_file = writers[file_format](model, temporary, _metadata(model))
        difference = float(np.abs(run_file(sources) - expected).max())
        limit = allowed_difference(model)
        if not difference <= limit:
            raise EngineError(
                f"The {file_format} file's pictures differ from the checkpoint's by up to "
                f"{difference:.2g}; the limit is {limit:g}. The file was not kept."
            )
        with replacing(path) as file, temporary.open("rb") as content:
            shutil.copyfileobj(content, file)
            n_bytes = file.tell()
    return ExportedModel(path, n_bytes, difference, len(sources))


def _require_repeatable_decoding(model: Model, file_format: str) -> None:
    """Refuses random colours inside a network, whose number of pictures is not known."""
    generator = model.generator
    if not isinstance(generator, PaletteGenerator) or file_format == "safetensors":
        return
    if generator.decoding.rule == "sample":
        raise BadInputError(
            f"A {file_format} file cannot contain the decoding {generator.decoding}, which draws "
            "random colours: export safetensors, or use a decoding with another rule."
        )


def allowed_difference(model: Model) -> float:
    """Returns the largest allowed difference of a file's pictures from the checkpoint's."""
    has_palette = model.config.configuration.has_palette
    return MAX_DECODED_DIFFERENCE if has_palette else MAX_DIFFERENCE


def _test_sources(model: Model, settings: Settings) -> Tensor:
    """Loads the first sources of the test split, [N, 3, px, px] in [-1, 1]."""
    source = parse_source(model.config.data, settings)
    packed = packing.prepare(source, model.px, settings)
    pairs = batches.load_pair_set(packed, "test", N_COMPARED, torch.device("cpu"))
    return torch.cat([sources for sources, _ in batches.evaluation_batches(pairs, N_COMPARED)])


def _metadata(model: Model) -> dict[str, str]:
    """Returns the metadata that every exported file contains."""
    run, config = model.run, model.config
    generator, of_palette = model.generator, {}
    if isinstance(generator, PaletteGenerator):
        colours = (255 * generator.palette).round().int().tolist()
        of_palette = {"decoding": str(generator.decoding), "palette": json.dumps(colours)}
    return of_palette | {
        "made_by": f"chromabench {read_version()}",
        "boundary": INTERFACE,
        "expects": model.expects,
        "px": str(model.px),
        "study": str(run.study_id),
        "run": str(run.id),
        "configuration": run.configuration,
        "seed": str(run.seed),
        "epoch": str(model.checkpoint.epoch),
        "output": config.configuration.output_at(config.budget).name,
        "checkpoint_sha256": model.checkpoint.sha256,
        "config": config.model_dump_json(),
    }


def _run_generator(generator: nn.Module) -> ForwardFn:
    def run(source: Tensor) -> NDArray[np.float32]:
        with features.exact_float32():
            fake: NDArray[np.float32] = generator(source).numpy()
        return fake

    return run


def _write_safetensors(model: Model, path: Path, metadata: dict[str, str]) -> ForwardFn:
    """Writes only the weights, for the network that `build_generator` builds.

    The metadata entry `config` has the budget and the configuration that `build_generator` needs.
    """
    weights = {name: tensor.contiguous() for name, tensor in model.generator.state_dict().items()}
    safetensors.torch.save_file(weights, path, metadata)
    loaded = build_generator(model.config.budget, model.config.configuration)
    loaded.load_state_dict(safetensors.torch.load_file(path))
    return _run_generator(loaded.eval())


def _write_torchscript(model: Model, path: Path, metadata: dict[str, str]) -> ForwardFn:
    """Writes the whole network, for programs that load torch without this project's code."""
    generator = _with_library_convolutions(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates TorchScript, which others still read
        traced = torch.jit.trace(generator, _example_source(model), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path, _extra_files={"about.json": json.dumps(metadata)})
        loaded = torch.jit.load(path)  # type: ignore[no-untyped-call]
    return _run_generator(loaded)


def _write_onnx(model: Model, path: Path, metadata: dict[str, str]) -> ForwardFn:
    """Writes the whole network, for ONNX Runtime and similar programs."""
    import onnx
    import onnxruntime

    batch = torch.export.Dim("pictures", min=1, max=MAX_ONNX_BATCH)
    torch.onnx.export(
        _with_library_convolutions(model),
        (_example_source(model),),
        path,
        input_names=["source"],
        output_names=["picture"],
        dynamic_shapes=({0: batch},),
        external_data=False,
        verbose=False,
    )
    written = onnx.load(path)
    onnx.helper.set_model_props(written, metadata)
    onnx.save(written, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(source: Tensor) -> NDArray[np.float32]:
        fake: NDArray[np.float32] = session.run(None, {"source": source.numpy()})[0]
        return fake

    return run


def _with_library_convolutions(model: Model) -> nn.Module:
    """Returns the generator after making all layers use torch's convolution, not a matrix product.

    Otherwise a traced network would keep the choice that was made for the example's batch size.
    """
    for layer in model.generator.modules():
        if isinstance(layer, DownConv | UpConv):
            layer.max_gemm_rows = 0
    return model.generator


def _example_source(model: Model) -> Tensor:
    return torch.zeros(2, 3, model.px, model.px)
