"""Converts errors of database drivers to domain errors, and separates the temporary ones."""

import sqlite3

import sqlalchemy as sa

from engine.errors import DatabaseUnavailableError, StoreError

# Other result codes, for example of a missing table or a broken constraint, stay the same however
# often a statement is repeated. (A moved file is reported when the call is repeated.)
_TEMPORARY_SQLITE_CODES = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_SCHEMA,
)
_PRIMARY_CODE = 0xFF  # the bits of a result code without its details
# Of PostgreSQL: the server is a standby for now; a limit of the server, which is an
# OperationalError, is exceeded.
_READ_ONLY_STATE, _LIMIT_CLASS = "25006", "54"


def store_error(error: sa.exc.DBAPIError, failure: str) -> StoreError:
    """Makes the domain error of a driver's error.

    Args:
        error: the driver's error.
        failure: what failed, as the beginning of the message.

    Returns:
        A `DatabaseUnavailableError` if the same call may succeed later.
    """
    kind = DatabaseUnavailableError if is_temporary(error) else StoreError
    return kind(f"{failure}: {reason_of(error)}.")


def is_temporary(error: sa.exc.DBAPIError) -> bool:
    """Returns whether the same statement may succeed later: the database is busy or unreachable."""
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        is_moved = code == sqlite3.SQLITE_READONLY_DBMOVED
        return is_moved or code & _PRIMARY_CODE in _TEMPORARY_SQLITE_CODES
    state = getattr(error.orig, "sqlstate", None) or ""
    if error.connection_invalidated or state == _READ_ONLY_STATE:
        return True
    is_operational = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return is_operational and not state.startswith(_LIMIT_CLASS)


def reason_of(error: BaseException) -> str:
    """Returns the first line of the message of an error, or of the driver's error that it wraps."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return (str(cause) or type(cause).__name__).splitlines()[0]
