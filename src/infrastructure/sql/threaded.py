"""Connections of SQLAlchemy in a thread, for databases that know one writer.

A statement is one trip to the thread. Through aiosqlite it is four (a cursor, the statement, its rows, the end) and a
greenlet: what the event loop and the threads spend on a document that is read in goes from 32 to 18 ms of CPU this way.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Executable, exc

from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.infrastructure.sql.errors import translated

T = TypeVar("T")
_FETCHED = {"prebuffer_rows": True}  # in the thread; what SQLAlchemy does itself where a driver is asynchronous


class ThreadedConnections:
    """One connection at a time, in a thread of its own. Close it when done.

    What is asked of the thread is done in the order in which it was asked, also when who asked has gone away: so a
    transaction that is cancelled in the middle of a statement has been rolled back before the next one begins.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "sqlite-units-of-work")

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["ThreadedConnection"]:
        """A connection in a transaction, which is rolled back at the end unless it was committed."""
        connection = ThreadedConnection(self._engine, self._thread)
        try:
            with translated():
                await connection.begin()
            yield connection
        finally:
            with suppress(exc.DBAPIError, OSError, DatabaseUnavailable):
                await connection.close()

    async def aclose(self) -> None:
        """Waits for what was asked for."""
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()


class ThreadedConnection:
    """Implements `transaction.Connection`."""

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread
        self._opened: Connection | None = None  # by the thread, and closed by it

    async def begin(self) -> None:
        await self._do(self._begin)

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None, /
    ) -> CursorResult[*tuple[Any, ...]]:
        return await self._do(lambda: self._connection.execute(statement, parameters, execution_options=_FETCHED))

    async def commit(self) -> None:
        await self._do(self._connection.commit)

    async def rollback(self) -> None:
        await self._do(self._connection.rollback)

    async def close(self) -> None:
        """Rolls back what was not committed."""
        await self._do(self._close)

    @property
    def _connection(self) -> Connection:
        assert self._opened is not None, "begin comes first"
        return self._opened

    def _begin(self) -> None:
        if self._opened is None:
            self._opened = self._engine.connect()
        self._opened.begin()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    async def _do(self, what: Callable[[], T]) -> T:
        try:
            asked: Future[T] = self._thread.submit(what)
        except RuntimeError as error:  # it was closed
            raise DatabaseUnavailable from error
        return await asyncio.shield(asyncio.wrap_future(asked))
