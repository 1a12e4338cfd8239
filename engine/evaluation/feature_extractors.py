"""Builds the extractors that feature metrics are computed with."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from engine.metrics.features import Extractor
from engine.networks import backbones

LITE2_PX = 260


def build_lite2(path: Path, sha256: str, device: torch.device) -> Extractor:
    """EfficientNet-Lite2 at its own 260 px: bicubic, antialiased, 1,280 pooled features."""
    network = backbones.load_efficientnet_lite("efficientnet_lite2", path)
    network = network.to(device, memory_format=torch.channels_last)

    def extract(pictures: Tensor) -> tuple[Tensor, None]:
        resized = functional.interpolate(
            pictures.to(device).float(), LITE2_PX, mode="bicubic", antialias=True
        ).clamp(0, 255)
        resized = resized.contiguous(memory_format=torch.channels_last)
        features: Tensor = network.extract_features((resized - 127) / 128)
        return features.mean((2, 3)), None

    resize = f"bicubic, antialiased, {LITE2_PX} px"
    return Extractor("efficientnet_lite2", sha256, resize, 1280, device, extract)


def build_inception(path: Path, sha256: str, device: torch.device) -> Extractor:
    """The standard Inception at 299 px: torch-fidelity's port and its own resize."""
    network = backbones.load_inception(path).to(device)

    def extract(pictures: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = network(pictures.to(device))
        return features, logits

    resize = "torch-fidelity's bilinear, 299 px"
    return Extractor("inception_v3", sha256, resize, 2048, device, extract)
