"""The setting in which pictures are decoded."""

import threading
import warnings
from contextlib import AbstractContextManager


class _Quiet:
    """Pillow's warnings are of no consequence here: what matters is refused or noted.

    Filters belong to the process, so that threads which decode at the same time share them.
    """

    def __init__(self) -> None:
        self._lock, self._depth = threading.Lock(), 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._filters.__exit__(None, None, None)


_QUIET = _Quiet()


def lenient_pillow() -> AbstractContextManager[None]:
    """The setting in which pictures are decoded, by any number of threads."""
    return _QUIET
