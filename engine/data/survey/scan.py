"""Reads the pairs of a source on all cores, in order, and keeps only a few pairs in memory.

Threads are enough, because decoding and scaling release Python's global interpreter lock.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine.data.pairs import THUMBNAIL_PX, LoadedPair, Pixels
from engine.data.sources.interface import Source
from engine.images.faults import Fault, PictureFaultError
from engine.system import processes

T = TypeVar("T")

# Images are decoded for at least this size, so that every smaller packed size gives equal
# measurements.
DECODE_PX = 256
MAX_CHUNK_PAIRS = 16
MAX_CHUNK_BYTES = 16 * 2**20  # of rendered pairs
PENDING_CHUNKS_PER_THREAD = 3


@dataclass(frozen=True)
class PairChunk:
    """Some consecutive pairs of a source.

    Attributes:
        names: the names of the pairs that could be read.
        pairs: the readable pairs with size and notes, but without their images.
        rendered: the [side, side, C] bytes of each readable pair, if `ScanOptions.px` is set.
        thumbnails: [N, 64, 64, C] bytes, if `ScanOptions.with_thumbnails` is set.
        faults: the faults of the pairs that could not be read.
    """

    names: tuple[str, ...]
    pairs: tuple[LoadedPair, ...]
    rendered: tuple[Pixels, ...]
    thumbnails: Pixels
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class ScanOptions:
    """The outputs that a scan computes for each pair.

    Attributes:
        px: the size at which pairs are rendered; None: pairs are not rendered.
        with_thumbnails: whether thumbnails are made for the measurements.
    """

    px: int | None
    with_thumbnails: bool


def iterate_chunks(
    source: Source,
    names: Sequence[str],
    options: ScanOptions,
    process_chunk: Callable[[PairChunk], T],
) -> Iterator[T]:
    """Reads pairs in threads and yields the results of the chunks in the order of the names.

    Args:
        source: the source of the pairs.
        names: the names of the pairs to read.
        options: the outputs that are computed for each pair.
        process_chunk: called with each chunk, in the thread that read the chunk.
    """
    n_threads = processes.count_cores()
    pair_bytes = max(options.px or 0, THUMBNAIL_PX) ** 2 * source.channels
    chunk_pairs = max(1, min(MAX_CHUNK_PAIRS, MAX_CHUNK_BYTES // pair_bytes))
    pending: deque[Future[T]] = deque()

    def load_and_process(chunk_names: Sequence[str]) -> T:
        return process_chunk(_load_chunk(source, chunk_names, options))

    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for start in range(0, len(names), chunk_pairs):
                pending.append(pool.submit(load_and_process, names[start : start + chunk_pairs]))
                if len(pending) >= n_threads * PENDING_CHUNKS_PER_THREAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _load_chunk(source: Source, names: Sequence[str], options: ScanOptions) -> PairChunk:
    readable_names: list[str] = []
    pairs: list[LoadedPair] = []
    rendered: list[Pixels] = []
    thumbnails: list[Pixels] = []
    faults: list[Fault] = []
    for name in names:
        try:
            pair = source.load_pair(name, max(options.px or 0, DECODE_PX))
            pixels = pair.render(options.px) if options.px else None
            thumbnail = pair.thumbnail() if options.with_thumbnails else None
        except PictureFaultError as error:
            faults.append(error.fault(name))
            continue
        readable_names.append(name)
        pairs.append(LoadedPair(pair.size, pair.notes, _released, _released))
        if pixels is not None:
            rendered.append(pixels)
        if thumbnail is not None:
            thumbnails.append(thumbnail)
    no_thumbnails = np.empty((0, THUMBNAIL_PX, THUMBNAIL_PX, source.channels), np.uint8)
    return PairChunk(
        tuple(readable_names),
        tuple(pairs),
        tuple(rendered),
        np.stack(thumbnails) if thumbnails else no_thumbnails,
        tuple(faults),
    )


def _released(px: int = 0) -> Pixels:
    raise AssertionError("the images of this pair were released")
