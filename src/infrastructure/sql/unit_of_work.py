"""Units of work over SQLAlchemy."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from llm_backend.infrastructure.sql.errors import translated
from llm_backend.infrastructure.sql.repositories.api_keys import SqlApiKeys
from llm_backend.infrastructure.sql.repositories.conversations import SqlConversations
from llm_backend.infrastructure.sql.repositories.deleted_places import SqlDeletedPlaces
from llm_backend.infrastructure.sql.repositories.documents import SqlDocuments
from llm_backend.infrastructure.sql.repositories.files import SqlFiles
from llm_backend.infrastructure.sql.repositories.idempotency import SqlIdempotencyRecords
from llm_backend.infrastructure.sql.repositories.knowledge_bases import SqlKnowledgeBases
from llm_backend.infrastructure.sql.repositories.reindexings import SqlReindexings
from llm_backend.infrastructure.sql.repositories.responses import SqlResponses
from llm_backend.infrastructure.sql.repositories.taken_over import SqlTakenOver
from llm_backend.infrastructure.sql.repositories.users import SqlRevocations, SqlUsers
from llm_backend.infrastructure.sql.repositories.vector_stores import SqlVectorStores
from llm_backend.infrastructure.sql.transaction import Connection, Transaction
from llm_backend.infrastructure.sql.write_turns import WriteTurns

Connected = Callable[[], AbstractAsyncContextManager[Connection]]


class SqlUnitOfWork:
    """All repositories over one transaction."""

    def __init__(self, connection: Connection) -> None:
        transaction = Transaction(connection)
        self.users = SqlUsers(transaction)
        self.revocations = SqlRevocations(transaction)
        self.api_keys = SqlApiKeys(transaction)
        self.conversations = SqlConversations(transaction)
        self.responses = SqlResponses(transaction)
        self.knowledge_bases = SqlKnowledgeBases(transaction)
        self.documents = SqlDocuments(transaction)
        self.reindexings = SqlReindexings(transaction)
        self.files = SqlFiles(transaction)
        self.vector_stores = SqlVectorStores(transaction)
        self.idempotency = SqlIdempotencyRecords(transaction)
        self.deleted_places = SqlDeletedPlaces(transaction)
        self.taken_over = SqlTakenOver(transaction)
        self.commit = transaction.commit


class SqlUnitOfWorkFactory:
    """Opens units of work, each in the transaction that `connected` begins and, unless it is committed, rolls back.
    With `turns` only one is open at a time: for databases that know one writer."""

    def __init__(self, connected: Connected, turns: WriteTurns | None = None) -> None:
        self._connected = connected
        self._turns = turns

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[SqlUnitOfWork]:
        async with self._turn(), self._connected() as connection:
            yield SqlUnitOfWork(connection)

    def _turn(self) -> AbstractAsyncContextManager[None]:
        return self._turns.taken() if self._turns else nullcontext()


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction, which is rolled back at the end unless it was committed."""
    connection = engine.connect()
    with translated():
        await connection.start()
    try:
        with translated():
            await connection.begin()
        yield connection
    finally:
        await _close(connection)


async def _close(connection: AsyncConnection) -> None:
    """Even while this task is being cancelled. What cannot be rolled back because the connection is lost has been, by
    the server; whoever only read, or has committed, need not hear of that."""
    with suppress(exc.DBAPIError, OSError):
        await connection.__aexit__(None, None, None)
