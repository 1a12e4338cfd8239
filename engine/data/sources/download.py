"""Downloads published data sets with kagglehub and torchvision, which show the progress.

Imports torch, because torchvision needs torch.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from torchvision.datasets import Places365

from engine.data.sources.published import DATA_SETS, get_data_set
from engine.errors import EngineError
from engine.system import extras

MAX_REASON_LENGTH = 120  # the type of the error replaces longer messages


def download_data_set(name: str, folder: Path) -> str:
    """Downloads a data set unless it exists; returns the SOURCE text of the data set.

    Files of an interrupted download are reused if that is safe, else deleted.

    Args:
        name: a key of `DATA_SETS`.
        folder: the parent folder of the data set; created if it does not exist.

    Raises:
        BadInputError: there is no such data set.
        EngineError: the connection failed, a library is missing, or the disk is full; the message
            contains the manual steps.
    """
    data_set = get_data_set(name)
    target = folder / name
    if not target.is_dir():
        partial = folder / f"{name}.partial"
        try:
            partial.mkdir(parents=True, exist_ok=True)
            _DOWNLOADS[name](partial).rename(target)
            shutil.rmtree(partial, ignore_errors=True)
        except ImportError as error:
            reason = extras.missing_message("fetch", f"The download of {name}") or f"{error}."
            raise EngineError(f"{reason} By hand: {data_set.manual_steps}") from error
        # OSError: the connection failed. RuntimeError: a checksum is wrong.
        except (OSError, RuntimeError) as error:
            reason = str(getattr(error, "reason", error))
            reason = reason if len(reason) < MAX_REASON_LENGTH else type(error).__name__
            raise EngineError(
                f"{name} could not be downloaded ({reason}). By hand: {data_set.manual_steps}"
            ) from error
    return f"{data_set.kind}:{target}"


def _download_anime_sketch(partial: Path) -> Path:
    """Downloads or resumes with Kaggle's library; returns the folder with train and val."""
    import kagglehub  # an optional extra

    handle = "ktaebum/anime-sketch-colorization-pair"
    archive = Path(kagglehub.dataset_download(handle, output_dir=str(partial / "archive")))
    for folder in (archive, *sorted(path for path in archive.rglob("*") if path.is_dir())):
        if {"train", "val"} <= {path.name for path in folder.iterdir() if path.is_dir()}:
            return folder
    raise EngineError(f"The download has no folder with train and val; it is in {archive}.")


def _download_places365(partial: Path) -> Path:
    """Downloads and unpacks the archive; a partly unpacked folder is deleted first."""
    shutil.rmtree(partial / "val_256", ignore_errors=True)
    Places365(partial, split="val", small=True, download=True)
    return partial / "val_256"


_DOWNLOADS: dict[str, Callable[[Path], Path]] = {
    "anime-sketch": _download_anime_sketch,
    "places365": _download_places365,
}
assert _DOWNLOADS.keys() == DATA_SETS.keys()
