"""Files of pretrained weights: which exist, which a run uses, and their downloads. Loads no torch.

Modules:
    catalog: the list of the files; finds a file on this machine and verifies its sha256.
    requirements: the files that runs use, and the choice of networks from the files here.
    download: downloads a file, resumes an interrupted download and verifies the file.
    download_state: the progress of a download for other processes; starts and cancels downloads.

Not here: the networks that are built from the files (`networks.backbones`).
"""

from engine.weights.catalog import (
    CATALOG,
    WeightsFile,
    find,
    format_mb,
    get_weights,
    hash_file,
    install_command,
    manual_instruction,
    missing_message,
    require,
    search_folders,
)
from engine.weights.requirements import (
    is_available,
    is_expected,
    missing_downloads,
    resolve_encoder_weights,
    resolve_perceptual_features,
)

__all__ = [
    "CATALOG",
    "WeightsFile",
    "find",
    "format_mb",
    "get_weights",
    "hash_file",
    "install_command",
    "is_available",
    "is_expected",
    "manual_instruction",
    "missing_downloads",
    "missing_message",
    "require",
    "resolve_encoder_weights",
    "resolve_perceptual_features",
    "search_folders",
]
