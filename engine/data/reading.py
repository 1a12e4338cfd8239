"""Goes through the pairs of a source once, on all cores, in order, holding only a few at a time.

Threads suffice: decoding and scaling happen outside Python's lock.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine.data.faults import Fault, PictureFaultError
from engine.data.opened import Opened, Pixels
from engine.data.pictures import decoding
from engine.data.sources import Source

T = TypeVar("T")

AT_ONCE = 32  # pairs in one thread's hands
BYTES_AT_ONCE = 16 * 2**20  # and no more than this, drawn
WAITING = 3  # portions per thread that may be done before they are taken


@dataclass(frozen=True)
class Portion:
    """Some pairs after each other.

    Attributes:
        names: of the pairs that could be read.
        opened: what is known of each, without its pictures.
        drawn: side in pixels -> [N, side, side, C] bytes.
        faults: of those that could not be read.
    """

    names: tuple[str, ...]
    opened: tuple[Opened, ...]
    drawn: Mapping[int, Pixels]
    faults: tuple[Fault, ...]


def read_portions(
    source: Source,
    names: Sequence[str],
    sides: Sequence[int],
    needed: int,
    finish: Callable[[Portion], T],
) -> Iterator[T]:
    """Reads and draws pairs; yields what is made of them, in the order of their names.

    Args:
        source: whose.
        names: which.
        sides: the sizes at which each is drawn.
        needed: the largest size that the decoder should keep in mind.
        finish: what each thread does with its portion.
    """
    workers = count_cores()
    largest = max(sides, default=1) ** 2 * (source.source_channels + 3)
    step = max(1, min(AT_ONCE, BYTES_AT_ONCE // largest))
    portions = iter([names[start : start + step] for start in range(0, len(names), step)])
    waiting: deque[Future[T]] = deque()

    def work(some: Sequence[str]) -> T:
        return finish(_read(source, some, sides, needed))

    with decoding(), ThreadPoolExecutor(workers) as pool:
        try:
            for portion in portions:
                waiting.append(pool.submit(work, portion))
                if len(waiting) >= workers * WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(source: Source, names: Sequence[str], sides: Sequence[int], needed: int) -> Portion:
    kept, opened, faults = [], [], []
    drawn: dict[int, list[Pixels]] = {side: [] for side in sides}
    for name in names:
        try:
            pair = source.open(name, needed)
            pictures = [pair.draw(side) for side in sides]
        except PictureFaultError as error:
            faults.append(error.fault(name))
            continue
        kept.append(name)
        opened.append(Opened(pair.size, pair.notes, pair.digest, _let_go))
        for side, picture in zip(sides, pictures, strict=True):
            drawn[side].append(picture)
    channels = source.source_channels + 3
    stacks = {
        side: np.stack(many) if many else np.empty((0, side, side, channels), np.uint8)
        for side, many in drawn.items()
    }
    return Portion(tuple(kept), tuple(opened), stacks, tuple(faults))


def _let_go(px: int) -> Pixels:
    raise AssertionError(f"the pictures have been let go; {px} px cannot be drawn any more")
