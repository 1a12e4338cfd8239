"""Downloads feature weights for commands, with a progress bar."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine import weights
from engine.cli import output
from engine.cli.inputs import stderr
from engine.config import RunConfig
from engine.settings import Settings
from engine.weights import download_state


def download_files(names: Sequence[str], settings: Settings) -> list[Path]:
    """Downloads files of weights one after the other and returns their paths.

    Raises:
        EngineError: a file could not be downloaded.
    """
    from engine.weights import download  # loads the HTTP client, which no other command needs

    paths = []
    for name in names:
        with output.download_bar(stderr, f"{weights.get_weights(name).label} weights") as progress:
            paths.append(download.download_weights(name, settings, progress))
    return paths


def planning_settings(fetch_weights: bool, settings: Settings) -> Settings:
    """Returns the settings with which a study is planned.

    With `--fetch-weights`, the study is planned as if all downloads had been made already.

    Raises:
        BadInputError: the setting CHROMABENCH_FETCH forbids the downloads.
    """
    if not fetch_weights:
        return settings
    download_state.require_allowed("inception", settings)
    return replace(settings, fetch="auto")


def print_missing_weights(configs: Sequence[RunConfig], settings: Settings) -> None:
    """Prints one line if the runs of a study wait for weights or will be evaluated without them."""
    missing = weights.missing_downloads(configs, settings)
    entries = [weights.get_weights(name) for name in missing if weights.is_expected(name, settings)]
    if entries:
        sizes = ", ".join(f"{entry.label} ({entry.size_text})" for entry in entries)
        line = f"The runs wait for the download of weights: {sizes}."
    elif "inception" in missing and settings.fetch == "ask":
        inception = weights.get_weights("inception")
        line = (
            "FID, KID and the Inception Score will be missing: they need the "
            f"{inception.label} weights ({inception.size_text}). "
            f"Get them: `{weights.install_command(inception.name)}`, or --fetch-weights next time."
        )
    else:
        return
    stderr.print(line, markup=False, highlight=False, soft_wrap=True)
