"""Published data sets that can be fetched: what they are, and how to get them by hand."""

from dataclasses import dataclass

from engine.errors import BadInputError


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes:
        about: what it is, for a person.
        by_hand: how to get it without this program.
        kind: the kind of source it makes.
    """

    about: str
    by_hand: str
    kind: str


DATA_SETS: dict[str, DataSet] = {
    "anime-sketch": DataSet(
        about="Anime Sketch Colorization Pair: 14,224 + 3,545 drawings beside their line art (CC0)",
        by_hand="Download ktaebum/anime-sketch-colorization-pair from Kaggle, unpack it, and use "
        "sidebyside:PATH with the folder that holds train and val.",
        kind="sidebyside",
    ),
    "places365": DataSet(
        about="Places365, the 36,500 small validation photographs (256 x 256)",
        by_hand="Download val_256.tar from the Places365 site (MIT), unpack it, and use "
        "photos:PATH with the folder val_256.",
        kind="photos",
    ),
}


def read_data_set(name: str) -> DataSet:
    """The named data set, or `BadInputError`."""
    if name not in DATA_SETS:
        raise BadInputError(f"There is no data set {name[:40]!r}; there is {', '.join(DATA_SETS)}.")
    return DATA_SETS[name]
