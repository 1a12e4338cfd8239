"""Errors that a user can act on. Each message names the thing, the value and the way out."""


class EngineError(Exception):
    """The requested work failed; the message is one or two sentences for the user."""

    exit_code = 1


class BadInputError(EngineError):
    """The request itself is invalid; nothing has been written."""

    exit_code = 2


class MissingWeightsError(EngineError):
    """Pretrained feature weights are not on this machine, or their file has a wrong hash."""


class RefusedMetricError(EngineError):
    """A metric cannot be computed; the message is the reason that is stored instead of a value."""


class DivergedError(EngineError):
    """A training loss became infinite or NaN."""


class StoreError(EngineError):
    """The database cannot be opened, read or written."""


class DatabaseUnavailableError(StoreError):
    """The database is busy or unreachable; the same call may succeed later."""
