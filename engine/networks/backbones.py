"""Pretrained networks: VGG19, EfficientNet-Lite, ResNet-18, Inception.

The package `weights` finds, verifies and downloads the files. If weights are missing, an error
names the command that installs them; no other network is used instead. All networks are frozen and
in evaluation mode, except the ResNet-18 encoder, which is trained.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch_fidelity import feature_extractor_inceptionv3 as inception_module
from torchvision.models import ResNet

from engine import weights
from engine.config import RunConfig
from engine.networks import efficientnet_lite
from engine.networks.efficientnet_lite import EfficientNetLite
from engine.settings import Settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_vgg19(path: Path | None) -> nn.Module:
    """Builds VGG19 up to relu5_1, the last map of study 1's perceptual term.

    Args:
        path: file of weights; None: the network is initialised randomly.
    """
    network = torchvision.models.vgg19(weights=None)
    if path is not None:
        network.load_state_dict(_load_state_dict(path))
    return _freeze(cast(nn.Sequential, network.features[:30]))


def load_efficientnet_lite(name: str, path: Path) -> EfficientNetLite:
    """Builds EfficientNet-Lite0 or -Lite2, with 1,280 features before the classifier.

    Args:
        name: `efficientnet_lite0` or `efficientnet_lite2`.
        path: file of weights.
    """
    network = EfficientNetLite(name)
    network.load_state_dict(efficientnet_lite.rename_weights(_load_state_dict(path)))
    return network.eval().requires_grad_(False)


def load_inception(path: Path) -> nn.Module:
    """Builds the Inception network of the standard FID (torch-fidelity's port)."""
    features = ["2048", "logits_unbiased"]
    return _freeze(
        inception_module.FeatureExtractorInceptionV3(
            "inception-v3-compat", features, feature_extractor_weights_path=str(path)
        )
    )


def load_resnet18(path: Path | None) -> ResNet:
    """Builds a trainable ResNet-18.

    Args:
        path: file of ImageNet weights; None: the network is initialised randomly.
    """
    network: ResNet = torchvision.models.resnet18(weights=None)
    if path is not None:
        network.load_state_dict(_load_state_dict(path))
    return network


class PerceptualFeatures(nn.Module):
    """Computes the feature maps that the perceptual term compares.

    VGG19's maps are used unchanged, as in study 1. Lite0's maps are not bounded, because Lite0's
    blocks end without an activation. Therefore the vector at each position is normalised to unit
    length over the channels, after Zhang et al. 2018 (LPIPS, equation 1), and multiplied by the
    square root of the number of channels. The squared difference of two maps, averaged over the
    channels, is then the squared distance of two unit vectors.

    Args:
        name: `vgg19` (relu1_1, 2_1, 3_1, 4_1, 5_1) or `efficientnet_lite0` (the last map of each
            resolution).
        path: file of weights; None: VGG19 is initialised randomly. The maps of a random VGG19 are
            meaningless but take equally long to compute, which is enough for a benchmark.
    """

    def __init__(self, name: str, path: Path | None) -> None:
        super().__init__()
        self.name = name
        if name == "vgg19":
            stages: Iterable[nn.Module] = cast(nn.Sequential, load_vgg19(path))
            self.stem: nn.Module = nn.Identity()
            self.map_stages: Sequence[int] = (1, 6, 11, 20, 29)
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        else:
            assert path is not None, f"{name} needs its weights"
            network = load_efficientnet_lite(name, path)
            network.fuse_norms()
            network.to(memory_format=torch.channels_last)
            self.stem, stages = network.stem, network.blocks
            self.map_stages = network.last_of_resolution
            mean, std = (127 / 255,) * 3, (128 / 255,) * 3
        self.stages = nn.ModuleList(stages)
        self.mean = nn.Buffer(torch.tensor(mean).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Pictures [N, 3, H, W] in [-1, 1] -> maps [N, C, h, w], from shallow to deep."""
        if self.name == "vgg19":
            return tuple(self._maps(pictures))
        # Depthwise convolutions are not faster in bf16, and are fastest in channels_last.
        with torch.autocast(pictures.device.type, enabled=False):
            pictures = pictures.float().contiguous(memory_format=torch.channels_last)
            maps = list(self._maps(pictures))
        return tuple(functional.normalize(x) * x.shape[1] ** 0.5 for x in maps)

    def _maps(self, pictures: Tensor) -> Iterator[Tensor]:
        x = self.stem(((pictures + 1) / 2 - self.mean) / self.std)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.map_stages:
                yield x


def build_feature_extractor(
    config: RunConfig, settings: Settings, device: torch.device
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Builds the function that maps pictures to feature maps.

    If no term of the recipe needs feature maps, the function returns no maps.

    Raises:
        MissingWeightsError: the weights of the network are not on this machine or are damaged.
    """
    if not config.configuration.recipe.needs_features:
        return lambda pictures: ()
    name = config.execution.perceptual_features
    path, _ = weights.require(name, settings)
    return PerceptualFeatures(name, path).to(device)


def _load_state_dict(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _freeze(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)
