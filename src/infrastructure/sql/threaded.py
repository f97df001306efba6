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
            yield connection
        finally:
            with suppress(exc.DBAPIError, OSError, DatabaseUnavailable):
                await connection.close()

    async def aclose(self) -> None:
        """Waits for what was asked for."""
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()


class ThreadedConnection:
    """Implements `transaction.Connection`. A transaction begins with its first statement, and its connection is given
    back with the commit: neither is a trip of its own."""

    def __init__(self, engine: Engine, thread: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._thread = thread
        self._opened: Connection | None = None  # by the thread, and closed by it
        self._is_over = True  # nothing that was asked of the thread is left to be undone

    async def begin(self) -> None:
        """Nothing to do."""

    async def run_sync(self, what: Callable[[Connection], T]) -> T:
        """Have it done in the thread."""
        self._is_over = False
        return await self._do(lambda: what(self._connected()))

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None, /
    ) -> CursorResult[*tuple[Any, ...]]:
        return await self.run_sync(
            lambda connection: connection.execute(statement, parameters, execution_options=_FETCHED)
        )

    async def commit(self) -> None:
        await self._do(self._commit)
        self._is_over = True

    async def rollback(self) -> None:
        await self._do(self._close)
        self._is_over = True

    async def close(self) -> None:
        """Rolls back what was not committed."""
        if not self._is_over:
            await self.rollback()

    def _connected(self) -> Connection:
        if self._opened is None:
            self._opened = self._engine.connect()
        return self._opened

    def _commit(self) -> None:
        if self._opened is not None:
            self._opened.commit()
            self._close()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    async def _do(self, what: Callable[[], T]) -> T:
        try:
            asked: Future[T] = self._thread.submit(what)
        except RuntimeError as error:  # it was closed
            raise DatabaseUnavailable from error
        return await asyncio.shield(asyncio.wrap_future(asked))
