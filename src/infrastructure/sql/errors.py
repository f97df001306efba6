"""What databases raise, in the words of the domain."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from llm_backend.domain.errors import DatabaseUnavailable, DomainError, StorageFull

_DISK_FULL = "53100"
_CONFLICTS = {"40001", "40P01"}  # a serialisation failure, a deadlock
_NONSENSE = ("22", "42")  # values that a type does not have, statements that mean nothing


class Violation(Exception):
    """A row contradicts others: a key is taken, or what it refers to is not there. The repository knows which."""


class TransactionConflict(DatabaseUnavailable):
    """The database undid a transaction that stood in the way of another; the same once more may well succeed."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise `Violation` or what `domain_error` says. Statements that make no sense are bugs, and stay what they are."""
    try:
        yield
    except (exc.IntegrityError, sqlite3.IntegrityError) as error:
        raise Violation from error
    except (exc.ProgrammingError, exc.DataError, exc.NotSupportedError):
        raise
    except (sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.NotSupportedError):
        raise
    except sqlite3.Error as error:
        raise domain_error(error) from error
    except exc.DBAPIError as error:
        if is_nonsense(error.orig):
            raise
        raise domain_error(error.orig) from error
    except (exc.TimeoutError, OSError) as error:
        raise DatabaseUnavailable from error


def domain_error(error: BaseException | None) -> DomainError:
    """What the caller is told when a statement or a commit fails for no fault of its own."""
    # the low byte of SQLite's codes says what, the others say where
    code, state = getattr(error, "sqlite_errorcode", 0), getattr(error, "sqlstate", None)
    if code & 0xFF == sqlite3.SQLITE_FULL or state == _DISK_FULL:
        return StorageFull()
    return TransactionConflict() if state in _CONFLICTS else DatabaseUnavailable()


def is_nonsense(error: BaseException | None) -> bool:
    """Whether PostgreSQL, or its driver, could make nothing of a statement or of a value."""
    return (getattr(error, "sqlstate", None) or "").startswith(_NONSENSE)
