"""Networks that others trained: VGG19, EfficientNet-Lite, ResNet-18, Inception.

Built from files that `weights` found and verified; absent weights are an error with its way out,
never a stand-in. All come frozen and in evaluation mode, but for the encoder, which is trained.
"""

import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import efficientnet_lite_pytorch
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity import feature_extractor_inceptionv3 as inception_module
from torchvision.models import ResNet

from engine import weights
from engine.config import RunConfig
from engine.errors import EngineError, MissingWeightsError
from engine.settings import Settings

# Where an internet connection finds each file: the libraries' own addresses.
_ADDRESSES: dict[str, str] = {
    "inception": inception_module.URL_INCEPTION_V3,
    "vgg19": torchvision.models.VGG19_Weights.IMAGENET1K_V1.url,
    "resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url,
}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_vgg19(path: Path | None) -> nn.Module:
    """VGG19 up to relu5_1, as the perceptual term of study 1 reads it."""
    network = torchvision.models.vgg19(weights=None)
    if path is not None:
        network.load_state_dict(_load(path))
    return _frozen(cast(nn.Sequential, network.features[:30]))


def load_efficientnet_lite(name: str, path: Path) -> efficientnet_lite_pytorch.EfficientNet:
    """EfficientNet-Lite0 or -Lite2 without its classifier's use; 1,280 features."""
    network = efficientnet_lite_pytorch.EfficientNet.from_name(name.replace("_", "-"))
    network.load_state_dict(_load(path))
    return network.eval().requires_grad_(False)


def load_inception(path: Path) -> nn.Module:
    """The standard Inception of the Frechet distance (torch-fidelity's port)."""
    features = ["2048", "logits_unbiased"]
    return _frozen(
        inception_module.FeatureExtractorInceptionV3(
            "inception-v3-compat", features, feature_extractor_weights_path=str(path)
        )
    )


def load_resnet18(path: Path | None) -> ResNet:
    """ResNet-18, with ImageNet weights from a file or freshly initialised; trainable."""
    network: ResNet = torchvision.models.resnet18(weights=None)
    if path is not None:
        network.load_state_dict(_load(path))
    return network


class PerceptualFeatures(nn.Module):
    """Maps pictures to the feature maps between which the perceptual term measures.

    VGG19's maps are taken as they are, as study 1 did. Lite0's have no bound (its blocks end
    without an activation), so each position is normalised over its channels, after Zhang et al.
    2018 (LPIPS, equation 1), and scaled by the root of their number: a mean over channels is
    then the squared distance of two unit vectors.

    Args:
        name: `vgg19` (relu1_1, 2_1, 3_1, 4_1, 5_1) or `efficientnet_lite0` (the last map of each
            of its resolutions).
        path: of the weights; None: as it is initialised, which VGG19 alone can be. Its maps say
            nothing then, but they take as long.
    """

    def __init__(self, name: str, path: Path | None) -> None:
        super().__init__()
        self.name = name
        if name == "vgg19":
            stages: Iterable[nn.Module] = cast(nn.Sequential, load_vgg19(path))
            self.stem: nn.Module = nn.Identity()
            self.layers: Sequence[int] = (1, 6, 11, 20, 29)
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        else:
            assert path is not None, f"{name} needs its weights"
            network = load_efficientnet_lite(name, path)
            for block in network._blocks:
                _fold_norms(block)
            network.to(memory_format=torch.channels_last)
            stages = network._blocks
            stem = fuse_conv_bn_eval(network._conv_stem, network._bn0)
            self.stem = nn.Sequential(stem, network._swish)
            self.layers = _last_blocks_of_each_resolution(network)
            mean, std = (127 / 255,) * 3, (128 / 255,) * 3
        self.stages = nn.ModuleList(stages)
        self.mean = nn.Buffer(torch.tensor(mean).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """[N, 3, H, W] in [-1, 1] -> one map [N, C, h, w] per layer, shallow to deep."""
        if self.name == "vgg19":
            return tuple(self._maps(pictures))
        # Depthwise convolutions gain nothing from bf16, and channels_last is their layout.
        with torch.autocast(pictures.device.type, enabled=False):
            pictures = pictures.float().contiguous(memory_format=torch.channels_last)
            maps = list(self._maps(pictures))
        return tuple(functional.normalize(x) * x.shape[1] ** 0.5 for x in maps)

    def _maps(self, pictures: Tensor) -> Iterator[Tensor]:
        x = self.stem(((pictures + 1) / 2 - self.mean) / self.std)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.layers:
                yield x


def build_extract(
    config: RunConfig, settings: Settings, device: torch.device
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The feature maps of the perceptual term, where the recipe has one; else none."""
    if "perceptual" not in config.configuration.recipe.names:
        return lambda pictures: ()
    name = config.execution.perceptual_features
    path, _ = weights.require(name, settings)
    return PerceptualFeatures(name, path).to(device)


def fetch(
    name: str, settings: Settings, progress: Callable[[int, int | None], None] | None = None
) -> Path:
    """Downloads the named weights into the artifacts folder and verifies them.

    The file appears under its name only when it is whole and the right one.

    Args:
        name: an entry of `weights.CATALOG`.
        settings: where the weights folder is.
        progress: called with the bytes so far and in all (None: unknown).

    Raises:
        EngineError: no connection, or what came is not the expected file.
    """
    entry = weights.read_weights(name)
    if weights.find(name, settings) is not None:
        return weights.require(name, settings)[0]
    if name not in _ADDRESSES:
        raise MissingWeightsError(f"{weights.absence(name)}.")
    settings.require_writable_artifacts()
    by_hand = f"By hand: put {entry.file} into {settings.weights_dir}."
    try:
        settings.weights_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"{settings.weights_dir} cannot be made ({error.strerror}).") from error
    with tempfile.TemporaryDirectory(dir=settings.weights_dir) as folder:
        partial = Path(folder) / entry.file
        try:
            _download(_ADDRESSES[name], partial, progress)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise EngineError(f"{entry.file} could not be fetched ({reason}). {by_hand}") from error
        digest = weights.hash_file(partial)
        if not digest.startswith(entry.sha256):
            raise EngineError(
                f"What was fetched is not {entry.file}: its sha256 begins {digest[:8]}, not "
                f"{entry.sha256[:8]}. Nothing was kept. {by_hand}"
            )
        return partial.replace(settings.weights_dir / entry.file)


def _download(
    address: str, target: Path, progress: Callable[[int, int | None], None] | None
) -> None:
    with urllib.request.urlopen(address, timeout=30) as answer, target.open("wb") as file:
        size = answer.headers.get("Content-Length")
        done = 0
        while chunk := answer.read(1 << 20):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, int(size) if size else None)


def _load(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def _fold_norms(block: nn.Module) -> None:
    """Puts frozen norms into the convolutions before them: the same maps in fewer passes."""
    for convolution, norm in zip(
        ("_expand_conv", "_depthwise_conv", "_project_conv"), ("_bn0", "_bn1", "_bn2"), strict=True
    ):
        if hasattr(block, convolution):
            folded = fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm))
            setattr(block, convolution, folded.requires_grad_(False))
            setattr(block, norm, nn.Identity())


def _last_blocks_of_each_resolution(
    network: efficientnet_lite_pytorch.EfficientNet,
) -> tuple[int, ...]:
    strides = [int(block._depthwise_conv.stride[0]) for block in network._blocks]
    last = len(strides) - 1
    return (*(index - 1 for index in range(1, last + 1) if strides[index] == 2), last)
