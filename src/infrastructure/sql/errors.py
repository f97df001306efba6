"""What databases raise, in the words of the domain."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from llm_backend.domain.errors import DatabaseUnavailable, DomainError, StorageFull


class Violation(Exception):
    """A row contradicts others: a key is taken, or what it refers to is not there. The repository knows which."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise `Violation` or what `domain_error` says. Statements that make no sense are bugs, and stay what they are."""
    try:
        yield
    except exc.IntegrityError as error:
        raise Violation from error
    except (exc.ProgrammingError, exc.DataError, exc.NotSupportedError):
        raise
    except exc.DBAPIError as error:
        raise domain_error(error.orig) from error
    except exc.TimeoutError as error:
        raise DatabaseUnavailable from error


def domain_error(error: BaseException | None) -> DomainError:
    """What the caller is told when a statement or a commit fails for no fault of its own."""
    # the low byte of SQLite's codes says what, the others say where
    code = getattr(error, "sqlite_errorcode", 0)
    return StorageFull() if code & 0xFF == sqlite3.SQLITE_FULL else DatabaseUnavailable()
