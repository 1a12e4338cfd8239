"""Downloads published data sets with the libraries that know them; their bars show the progress.

The one module of `data` beside `batches` that loads torch (torchvision has the Places365 class).
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from torchvision.datasets import Places365

from engine.data.sources.published import DATA_SETS, read_data_set
from engine.errors import EngineError

LONGEST_REASON = 120  # letters; the libraries tell whole stories


def fetch(name: str, to: Path) -> str:
    """Downloads a data set into a folder unless it is there; says the SOURCE that it makes.

    What an interrupted download left is used again where that is safe, else removed.

    Args:
        name: an entry of `DATA_SETS`.
        to: made if it is not there.

    Raises:
        BadInputError: there is no such data set.
        EngineError: no connection, a missing library, no space; says the manual way.
    """
    known = read_data_set(name)
    target = to / name
    if not target.is_dir():
        building = to / f"{name}.partial"
        try:
            building.mkdir(parents=True, exist_ok=True)
            _DOWNLOADS[name](building).rename(target)
            shutil.rmtree(building, ignore_errors=True)
        except ImportError as error:
            raise EngineError(
                f"{name} is fetched with kagglehub, which is not installed: "
                f"`pip install 'chromabench[fetch]'`. By hand: {known.by_hand}"
            ) from error
        # The libraries raise OSError for the connection and RuntimeError for a wrong checksum.
        except (OSError, RuntimeError) as error:
            reason = str(getattr(error, "reason", error))
            reason = reason if len(reason) < LONGEST_REASON else type(error).__name__
            raise EngineError(
                f"{name} could not be fetched ({reason}). By hand: {known.by_hand}"
            ) from error
    return f"{known.kind}:{target}"


def _anime_sketch(building: Path) -> Path:
    """Kaggle's downloader resumes by itself; the folder with the splits is what is wanted."""
    import kagglehub  # an optional extra

    handle = "ktaebum/anime-sketch-colorization-pair"
    found = Path(kagglehub.dataset_download(handle, output_dir=str(building / "archive")))
    for folder in (found, *sorted(it for it in found.rglob("*") if it.is_dir())):
        if {"train", "val"} <= {it.name for it in folder.iterdir() if it.is_dir()}:
            return folder
    raise EngineError(f"What was fetched has no folders train and val; it lies in {found}.")


def _places365(building: Path) -> Path:
    """The archive is kept until it is unpacked whole; half an unpacked one is thrown away."""
    shutil.rmtree(building / "val_256", ignore_errors=True)
    Places365(building, split="val", small=True, download=True)
    return building / "val_256"


_DOWNLOADS: dict[str, Callable[[Path], Path]] = {
    "anime-sketch": _anime_sketch,
    "places365": _places365,
}
assert _DOWNLOADS.keys() == DATA_SETS.keys()
