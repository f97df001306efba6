"""What the views and the journal ask of a database: the seam along which another one takes SQLite's place."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from sqlalchemy import ClauseElement

from llm_backend.infrastructure.sql.statements import Outcome, Prepared, Query, Repeated, Row

T = TypeVar("T")
Steps = Generator[Query, Outcome, T]
Script = Callable[[], Steps[T]]


class Reader(Protocol):
    """Reads what has been committed."""

    def prepare(self, statement: ClauseElement) -> Prepared: ...

    async def fetch(self, *queries: Query) -> Sequence[Sequence[Row]]:
        """The rows of each query, all of one moment. Raises `DatabaseUnavailable`."""


class Writer(Protocol):
    """Writes durably. Several may share a commit."""

    def prepare(self, statement: ClauseElement) -> Prepared: ...

    async def write(self, script: Script[T]) -> T:
        """Carry out the queries that the script yields, sending it the outcome of each, all or nothing: nothing when
        it raises. Where somebody else's transaction was in the way, the script is begun anew. Its result is returned
        when it survives a power cut. Raises `DatabaseUnavailable` or `StorageFull` when nothing has happened; only
        when the connection is lost during the very commit, nobody knows."""

    async def write_each(self, repeated: Repeated) -> None:
        """The same for one statement and any number of values, all or nothing for each of them. Raises what went wrong
        with any."""

    async def write_one(self, query: Query) -> None:
        """The same for a single query, which is all or nothing by itself."""
