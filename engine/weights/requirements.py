"""Lists the files of weights that runs use, and chooses networks from the files on this machine.

The setting `auto` of a run selects from the files that will be on this machine when the run starts:
the files that are here, a file that is being downloaded now and, with CHROMABENCH_FETCH=auto, each
file that can be downloaded. The worker of the run waits for these downloads.
"""

from collections.abc import Sequence

from engine.config import RunConfig
from engine.errors import MissingWeightsError
from engine.settings import Settings
from engine.weights import catalog, download_state


def used_downloads(config: RunConfig) -> tuple[str, ...]:
    """Returns the names of the files that a run uses if they are here, without those in packages.

    A setting `auto` of the run counts as a use.
    """
    execution, names = config.execution, ["inception"]
    reader = config.configuration.source_features
    if reader != "none" and catalog.get_weights(reader).url is not None:
        names.append(reader)
    if config.configuration.recipe.needs_features:
        names += ["vgg19"] if execution.perceptual_features in ("auto", "vgg19") else []
    if config.budget.has_encoder:
        names += ["resnet18"] if execution.encoder_weights in ("auto", "imagenet") else []
    return tuple(names)


def missing_downloads(configs: Sequence[RunConfig], settings: Settings) -> tuple[str, ...]:
    """Returns the names of the files that some runs use and that are not on this machine."""
    names = dict.fromkeys(name for config in configs for name in used_downloads(config))
    return tuple(name for name in names if catalog.find(name, settings) is None)


def is_available(name: str, settings: Settings, may_wait: bool) -> bool:
    """Returns whether a file is on this machine or, for runs that may wait, will be downloaded."""
    if catalog.find(name, settings) is not None:
        return True
    return may_wait and is_expected(name, settings)


def is_expected(name: str, settings: Settings) -> bool:
    """Returns whether a missing file will be downloaded before the next run starts."""
    if catalog.get_weights(name).url is None or settings.fetch == "never":
        return False
    return settings.fetch == "auto" or download_state.is_running(name, settings)


def resolve_encoder_weights(setting: str, settings: Settings, may_wait: bool = False) -> str:
    """Resolves `encoder_weights`: `auto` is `imagenet` if its file is available, else `none`.

    Args:
        setting: `auto`, `imagenet` or `none`.
        settings: the settings of the installation.
        may_wait: whether a file that `is_expected` counts as available.

    Raises:
        MissingWeightsError: the setting is `imagenet` and its file is not available.
    """
    has_file = is_available("resnet18", settings, may_wait)
    if setting == "auto":
        return "imagenet" if has_file else "none"
    if setting == "imagenet" and not has_file:
        raise MissingWeightsError(f"{catalog.missing_message('resnet18')}.")
    return setting


def resolve_perceptual_features(setting: str, settings: Settings, may_wait: bool = False) -> str:
    """Resolves `perceptual_features`: `auto` is `vgg19` if its file is available, else Lite0.

    Args:
        setting: `auto`, or the name of a network.
        settings: the settings of the installation.
        may_wait: whether a file that `is_expected` counts as available.

    Raises:
        MissingWeightsError: the setting names a network whose weights are not available.
    """
    if setting == "auto":
        return "vgg19" if is_available("vgg19", settings, may_wait) else "efficientnet_lite0"
    if not is_available(setting, settings, may_wait):
        raise MissingWeightsError(f"{catalog.missing_message(setting)}.")
    return setting
