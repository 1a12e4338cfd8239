"""What is measured of every pair: a row each, all from the pair drawn at 64 pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import color
from engine.data.opened import Opened, Pixels

SIDE = 64  # pixels at which pairs are measured, whatever size they are trained at
PRINT = 16  # pixels a side of the small grey picture by which look-alikes are known
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_EDGE = 26  # levels of 255 between neighbours that make an edge

# name -> the shape of a row; float32 but for the prints
_COLUMNS: Mapping[str, tuple[int, ...]] = {
    "width": (),
    "height": (),
    "colorfulness": (),
    "edges": (2,),  # source, target: the share of pixels on an edge
    "low": (4,),  # grey source, then the target's channels
    "high": (4,),
    "mean": (4,),
    "spread": (4,),
}


@dataclass(frozen=True)
class Facts:
    """A row for each pair of a source that could be read.

    Attributes:
        names: [N], sorted.
        digests: [N]; equal pairs have equal ones.
        columns: name -> [N, ...] float32; sizes are 0 where a pair is drawn at any size.
        prints: [N, 2, 16, 16] bytes: source and target, grey and small.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    columns: Mapping[str, NDArray[np.float32]]
    prints: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """Writes all of it into one file."""
        names = np.array("\n".join(self.names).encode())
        digests = np.array("\n".join(self.digests).encode())
        columns = {"names": names, "digests": digests, "prints": self.prints, **self.columns}
        np.savez(path, **columns)  # type: ignore[arg-type]


def load_facts(path: Path) -> Facts:
    """Reads what `Facts.save` wrote; raises OSError, ValueError or KeyError where it is damaged."""
    with np.load(path) as saved:
        texts = {it: bytes(saved[it].item()).decode() for it in ("names", "digests")}
        names, digests = (tuple(text.split("\n")) if text else () for text in texts.values())
        columns = {name: saved[name] for name in _COLUMNS}
        prints = saved["prints"]
    if {len(names), len(digests), len(prints), *map(len, columns.values())} != {len(names)}:
        raise ValueError("its columns are of different lengths")
    return Facts(names, digests, columns, prints)


def measure(names: Sequence[str], opened: Sequence[Opened], drawn: Pixels) -> Facts:
    """The facts of pairs as they were opened and drawn, [N, 64, 64, C] bytes."""
    sizes = np.array([pair.size or (0, 0) for pair in opened], np.float32).reshape(-1, 2)
    source, colours = grey_source(drawn), drawn[..., -3:].astype(np.float32)
    target = _grey(colours)
    flat = np.concatenate([source[..., None], colours], axis=3).reshape(len(drawn), -1, 4)
    columns = {
        "width": sizes[:, 0],
        "height": sizes[:, 1],
        "colorfulness": color.colorfulness(colours.transpose(0, 3, 1, 2) / 255),
        "edges": np.stack([_edge_density(source), _edge_density(target)], axis=1),
        "low": flat.min(1),
        "high": flat.max(1),
        "mean": flat.mean(1),
        "spread": flat.std(1),
    }
    assert columns.keys() == set(_COLUMNS)
    prints = np.stack([_shrink(source), _shrink(target)], axis=1)
    digests = tuple(pair.digest for pair in opened)
    rows = {name: column.astype(np.float32) for name, column in columns.items()}
    return Facts(tuple(names), digests, rows, prints)


def join(parts: Sequence[Facts]) -> Facts:
    """All rows of all parts, in order."""
    return Facts(
        names=tuple(name for part in parts for name in part.names),
        digests=tuple(digest for part in parts for digest in part.digests),
        columns={
            name: np.concatenate(
                [np.empty((0, *shape), np.float32)] + [it.columns[name] for it in parts]
            )
            for name, shape in _COLUMNS.items()
        },
        prints=np.concatenate(
            [np.empty((0, 2, PRINT, PRINT), np.uint8)] + [it.prints for it in parts]
        ),
    )


def grey_source(drawn: Pixels) -> NDArray[np.float32]:
    """The sources of drawn pairs [N, H, W, C] in grey: [N, H, W] in 0..255."""
    return _grey(drawn[..., :-3])


def _edge_density(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The share of pixels that differ clearly from the next one right or below."""
    right = np.abs(np.diff(grey, axis=2))[:, :-1]
    below = np.abs(np.diff(grey, axis=1))[:, :, :-1]
    density: NDArray[np.float32] = (np.maximum(right, below) > _EDGE).mean((1, 2))
    return density


def _shrink(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    part = SIDE // PRINT
    small = grey.reshape(len(grey), PRINT, part, PRINT, part).mean((2, 4))
    prints: NDArray[np.uint8] = small.round().astype(np.uint8)
    return prints


def _grey(pictures: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    if pictures.shape[-1] == 1:
        return pictures[..., 0].astype(np.float32)
    grey: NDArray[np.float32] = pictures.astype(np.float32) @ _LUMA
    return grey
