"""Lists the published data sets, with instructions for a download by hand."""

from dataclasses import dataclass

from engine.errors import BadInputError


@dataclass(frozen=True)
class PublishedDataSet:
    """A published data set.

    Attributes:
        about: a description in one line.
        manual_steps: instructions for a download by hand.
        kind: the kind of source in the SOURCE text, for example `photos`.
    """

    about: str
    manual_steps: str
    kind: str


DATA_SETS: dict[str, PublishedDataSet] = {
    "anime-sketch": PublishedDataSet(
        about="Anime Sketch Colorization Pair: 14,224 + 3,545 drawings beside their line art (CC0)",
        manual_steps="Download ktaebum/anime-sketch-colorization-pair from Kaggle, unpack it, and "
        "use sidebyside:PATH with the folder that contains train and val.",
        kind="sidebyside",
    ),
    "places365": PublishedDataSet(
        about="Places365, the 36,500 small validation photographs (256 x 256)",
        manual_steps="Download val_256.tar from the Places365 site (MIT), unpack it, and use "
        "photos:PATH with the folder val_256.",
        kind="photos",
    ),
}


def get_data_set(name: str) -> PublishedDataSet:
    """Returns a data set by its name.

    Raises:
        BadInputError: there is no data set of this name.
    """
    if name not in DATA_SETS:
        raise BadInputError(
            f"There is no data set {name[:40]!r}; the data sets are {', '.join(DATA_SETS)}."
        )
    return DATA_SETS[name]
