"""Goes through the pairs of a source once, on all cores, in order, holding only a few at a time.

Threads suffice: decoding and scaling happen outside Python's lock.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine.data.pairs import GLANCE, Opened, Pixels
from engine.data.sources.registry import Source
from engine.images.faults import Fault, PictureFaultError
from engine.images.pillow import lenient_pillow

T = TypeVar("T")

NEEDED = 256  # pixels that pictures are decoded for; up to it, facts are the same for all sizes
AT_ONCE = 16  # pairs in one thread's hands
BYTES_AT_ONCE = 16 * 2**20  # and no more than this, drawn
WAITING = 3  # portions per thread that may be done before they are taken


@dataclass(frozen=True)
class Portion:
    """Some pairs after each other.

    Attributes:
        names: of the pairs that could be read.
        opened: what is known of each, its pictures let go.
        drawn: [side, side, C] bytes of each, where they are asked for.
        glances: [N, 64, 64, C] bytes, where they are asked for.
        faults: of those that could not be read.
    """

    names: tuple[str, ...]
    opened: tuple[Opened, ...]
    drawn: tuple[Pixels, ...]
    glances: Pixels
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of each pair.

    Attributes:
        px: the size at which it is drawn; None: not at all.
        glance: whether it is looked at for measuring.
    """

    px: int | None
    glance: bool


def read_portions(
    source: Source,
    names: Sequence[str],
    wanted: Wanted,
    finish: Callable[[Portion], T],
) -> Iterator[T]:
    """Reads and draws pairs; yields what is made of them, in the order of their names.

    Args:
        source: whose.
        names: which.
        wanted: what of them.
        finish: what each thread does with its portion.
    """
    workers = count_cores()
    largest = max(wanted.px or 0, GLANCE) ** 2 * source.channels
    step = max(1, min(AT_ONCE, BYTES_AT_ONCE // largest))
    portions = iter([names[start : start + step] for start in range(0, len(names), step)])
    waiting: deque[Future[T]] = deque()

    def work(some: Sequence[str]) -> T:
        return finish(_read(source, some, wanted))

    with lenient_pillow(), ThreadPoolExecutor(workers) as pool:
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


def _read(source: Source, names: Sequence[str], wanted: Wanted) -> Portion:
    kept, opened, faults = [], [], []
    drawn: list[Pixels] = []
    glances: list[Pixels] = []
    for name in names:
        try:
            pair = source.open(name, max(wanted.px or 0, NEEDED))
            picture = pair.draw(wanted.px) if wanted.px else None
            look = pair.glance() if wanted.glance else None
        except PictureFaultError as error:
            faults.append(error.fault(name))
            continue
        kept.append(name)
        opened.append(Opened(pair.size, pair.notes, _let_go, _let_go))
        if picture is not None:
            drawn.append(picture)
        if look is not None:
            glances.append(look)
    empty = np.empty((0, GLANCE, GLANCE, source.channels), np.uint8)
    stack = np.stack(glances) if glances else empty
    return Portion(tuple(kept), tuple(opened), tuple(drawn), stack, tuple(faults))


def _let_go(px: int = 0) -> Pixels:
    raise AssertionError("the pictures have been let go")
