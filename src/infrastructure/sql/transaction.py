"""One transaction, in the words of the domain when it fails."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import CursorResult, Executable

from llm_backend.infrastructure.sql.errors import TransactionConflict, translated


class Connection(Protocol):
    """What a transaction needs of a connection. SQLAlchemy's `AsyncConnection` is one."""

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None, /
    ) -> CursorResult[*tuple[Any, ...]]:
        """All rows of the result have been fetched."""

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
        is_first, self._is_new = self._is_new, False
        try:
            return await self._execute(statement, values)
        except TransactionConflict:
            if not is_first:  # what came before it, and what was concluded from that, is undone as well
                raise
            await self._begin_anew()
            return await self._execute(statement, values)

    async def _execute(self, statement: Executable, values: Mapping[str, Any] | None) -> CursorResult[*tuple[Any, ...]]:
        with translated():
            return await self._connection.execute(statement, values)

    async def _begin_anew(self) -> None:
        with translated():
            await self._connection.rollback()
            await self._connection.begin()

    async def execute_each(self, statement: Executable, values: Sequence[Mapping[str, Any]]) -> None:
        """Once for each set of values, of which there may be none."""
        if values:
            self._is_new = False
            with translated():
                await self._connection.execute(statement, values)

    async def commit(self) -> None:
        with translated():
            await self._connection.commit()
