"""The faults a person can mend: each message names the thing, the value and the way out."""


class EngineError(Exception):
    """The work cannot be done; the message is one or two sentences for the person who asked."""

    exit_code = 1


class BadInputError(EngineError):
    """What was asked for is wrong in itself; nothing has been written."""

    exit_code = 2


class MissingWeightsError(EngineError):
    """Feature weights are not on this machine."""


class RefusedMetricError(EngineError):
    """A metric has no honest value here; the message is the reason that is stored with it."""


class DivergedError(EngineError):
    """A training loss became infinite or not a number."""


class StoreError(EngineError):
    """The database cannot be used as it is."""
