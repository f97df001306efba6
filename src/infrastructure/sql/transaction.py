"""One transaction, in the words of the domain when it fails."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy
from sqlalchemy import CursorResult, Executable

from llm_backend.infrastructure.sql.errors import TransactionConflict, translated
from llm_backend.infrastructure.sql.together import Statements, statements_on

T = TypeVar("T")


class Connection(Protocol):
    """What a transaction needs of a connection. SQLAlchemy's `AsyncConnection` is one."""

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None, /
    ) -> CursorResult[*tuple[Any, ...]]:
        """All rows of the result have been fetched."""

    async def run_sync(self, what: Callable[[sqlalchemy.Connection], T], /) -> T: ...

    def begin(self) -> Awaitable[object]: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class Transaction:
    """What the repositories of a unit of work write through. Every method may raise `Violation`,
    `DatabaseUnavailable` or `StorageFull`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_new = True

    async def execute(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> CursorResult[*tuple[Any, ...]]:
        return await self._carried_out(lambda: self._connection.execute(statement, values))

    async def together(self, what: Callable[[Statements], T]) -> T:
        """Several statements in one trip to the thread of the database, where it has one. It may be done again from
        the start, and what it raises comes out."""
        return await self._carried_out(lambda: self._connection.run_sync(lambda sync: what(statements_on(sync))))

    async def _carried_out(self, what: Callable[[], Awaitable[T]]) -> T:
        is_first, self._is_new = self._is_new, False
        try:
            with translated():
                return await what()
        except TransactionConflict:
            if not is_first:  # what came before it, and what was concluded from that, is undone as well
                raise
        with translated():
            await self._connection.rollback()
            await self._connection.begin()
            return await what()

    async def execute_each(self, statement: Executable, values: Sequence[Mapping[str, Any]]) -> None:
        """Once for each set of values, of which there may be none."""
        if values:
            self._is_new = False
            with translated():
                await self._connection.execute(statement, values)

    async def commit(self) -> None:
        with translated():
            await self._connection.commit()
