"""Builds the extractors of the feature metrics from pretrained networks."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from engine.metrics.features import Extractor
from engine.networks import backbones

LITE2_PX = 260


def build_lite2(path: Path, sha256: str, device: torch.device) -> Extractor:
    """Builds the EfficientNet-Lite2 extractor; images are resized to 260 px, bicubic, antialiased.

    The features are the 1,280 spatial means of the last feature maps.
    """
    network = backbones.load_efficientnet_lite("efficientnet_lite2", path)
    network = network.to(device).to(memory_format=torch.channels_last)

    def extract(images: Tensor) -> tuple[Tensor, None]:
        resized = functional.interpolate(
            images.to(device).float(), LITE2_PX, mode="bicubic", antialias=True
        ).clamp(0, 255)
        resized = resized.contiguous(memory_format=torch.channels_last)
        features: Tensor = network.extract_features((resized - 127) / 128)
        return features.mean((2, 3)), None

    resize = f"bicubic, antialiased, {LITE2_PX} px"
    return Extractor("efficientnet_lite2", sha256, resize, 1280, device, extract)


def build_inception(path: Path, sha256: str, device: torch.device) -> Extractor:
    """Builds the Inception extractor of torch-fidelity, which resizes images to 299 px."""
    network = backbones.load_inception(path).to(device)

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = network(images.to(device))
        return features, logits

    resize = "torch-fidelity's bilinear, 299 px"
    return Extractor("inception_v3", sha256, resize, 2048, device, extract)
