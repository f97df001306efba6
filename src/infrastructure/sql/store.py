"""Everything that is stored in SQL, and the lifetimes of what it takes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.application.ports.api_keys import ApiKeyViews
from llm_backend.application.ports.file_views import FileViews
from llm_backend.application.ports.responses import ResponseViews
from llm_backend.application.ports.sealed_secrets import SealedSecrets
from llm_backend.application.ports.sessions import SessionViews
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.usage import UsageLog
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews
from llm_backend.domain.ids import WriterId
from llm_backend.infrastructure.sql.api_keys import SqlApiKeyViews
from llm_backend.infrastructure.sql.conversation_views import SqlConversationViews
from llm_backend.infrastructure.sql.file_views import SqlFileViews
from llm_backend.infrastructure.sql.jobs import SqlJobs
from llm_backend.infrastructure.sql.journal import SqlAnswerJournal
from llm_backend.infrastructure.sql.knowledge_views import SqlKnowledgeViews
from llm_backend.infrastructure.sql.leases import SqlAnswerLeases
from llm_backend.infrastructure.sql.migrating import migrate, pending, read_a_little
from llm_backend.infrastructure.sql.ports import Reader, Writer
from llm_backend.infrastructure.sql.responses import SqlResponseViews
from llm_backend.infrastructure.sql.sealed_secrets import SqlSealedSecrets
from llm_backend.infrastructure.sql.server import PostgresServer
from llm_backend.infrastructure.sql.session_views import SqlSessionViews
from llm_backend.infrastructure.sql.sqlite import (
    PATIENCE,
    TURN_PATIENCE,
    Pragmas,
    SqliteReader,
    SqliteWriter,
    create_file,
    make_private,
    sqlite_engine,
    threaded_engine,
)
from llm_backend.infrastructure.sql.statements import Query
from llm_backend.infrastructure.sql.threaded import ThreadedConnections
from llm_backend.infrastructure.sql.unit_of_work import SqlUnitOfWorkFactory, connected
from llm_backend.infrastructure.sql.usage import SqlUsageLog
from llm_backend.infrastructure.sql.write_turns import WriteTurns

MIGRATION_PATIENCE = timedelta(hours=6)  # to wait for another replica that migrates, however large the tables are
# In SQLite those who wait are commands beside a server, and the driver's thread hears of no Ctrl-C meanwhile.
SQLITE_MIGRATION_PATIENCE = 60.0  # seconds


class SqlStore:
    """The ports that are kept with the help of one database."""

    transactions: UnitOfWorkFactory
    session_views: SessionViews
    api_key_views: ApiKeyViews
    usage: UsageLog
    conversation_views: ConversationViews
    knowledge_views: KnowledgeViews
    file_views: FileViews
    response_views: ResponseViews
    journal: AnswerJournal
    leases: AnswerLeases
    sealed_secrets: SealedSecrets
    jobs: SqlJobs

    def __init__(
        self,
        transactions: UnitOfWorkFactory,
        reader: Reader,
        writer: Writer,
        journal_of: Callable[[Reader, Writer, WriterId], AnswerJournal] = SqlAnswerJournal,
        *,
        bulk: Reader | None = None,
        reserved: Reader | None = None,
    ) -> None:
        """With `bulk`, conversations do not wait behind the reads of documents and usage; with `reserved`, leases and
        `check` do not wait behind those of clients."""
        bulk = bulk or reader
        self.transactions = transactions
        self.session_views = SqlSessionViews(reader)
        self.api_key_views = SqlApiKeyViews(reader)
        self.usage = SqlUsageLog(bulk, writer)
        self.conversation_views = SqlConversationViews(reader)
        self.knowledge_views = SqlKnowledgeViews(bulk)
        self.file_views = SqlFileViews(bulk)
        self.response_views = SqlResponseViews(reader)
        self.jobs = SqlJobs(reader, writer)
        self.sealed_secrets = SqlSealedSecrets(bulk, writer)
        me = WriterId(str(uuid4()))
        self._reader = reader
        self._reserved = reserved or reader
        self._writer = writer
        self._journal_of = journal_of
        self.journal = self.journal_of(me)
        self.leases = self.leases_of(me)
        self._ping = self._reserved.prepare(select(literal(1)))

    def journal_of(self, me: WriterId) -> AnswerJournal:
        return self._journal_of(self._reader, self._writer, me)

    def leases_of(self, me: WriterId) -> AnswerLeases:
        return SqlAnswerLeases(self._reader, self._writer, me, reserved=self._reserved)

    async def check(self) -> None:
        """Raises `DatabaseUnavailable` when it cannot be read."""
        await self._reserved.fetch(Query(self._ping))

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: Path,
        *,
        patience: float = PATIENCE,
        turn_patience: float = TURN_PATIENCE,
        pragmas: Pragmas | None = None,
    ) -> AsyncIterator["SqlStore"]:
        """Open, and if needed create and migrate, a SQLite database. What is being written is finished at the end.

        `patience` and `turn_patience` are how many seconds to wait for writers in other processes and in this one;
        `pragmas` are added to those of each connection. Raises what `migrate_sqlite` does.
        """
        await migrate_sqlite(path)
        turns = WriteTurns(turn_patience)
        async with AsyncExitStack() as stack:
            connections = ThreadedConnections(threaded_engine(path, patience=patience, pragmas=pragmas))
            stack.push_async_callback(connections.aclose)
            reader, bulk = (SqliteReader(path, name, patience=patience, pragmas=pragmas) for name in ("quick", "bulk"))
            stack.push_async_callback(reader.close)
            stack.push_async_callback(bulk.close)
            writer = SqliteWriter(path, turns, patience=patience, pragmas=pragmas)
            stack.push_async_callback(writer.close)
            yield cls(SqlUnitOfWorkFactory(connections.connected, turns), reader, writer, bulk=bulk)

    @classmethod
    @asynccontextmanager
    async def open_server(cls, server: PostgresServer) -> AsyncIterator["SqlStore"]:
        """The same with a database of PostgreSQL, which other processes may use at the same time.

        Raises `DatabaseUnavailable`, `SchemaTooNew` or `ForeignDatabase`.
        """
        from llm_backend.infrastructure.sql.postgres import PostgresReader, connect, dispose, postgres_engine
        from llm_backend.infrastructure.sql.postgres_journal import PostgresAnswerJournal
        from llm_backend.infrastructure.sql.postgres_writer import PostgresWriter

        await migrate_server(server)
        async with AsyncExitStack() as stack:
            engine = postgres_engine(server)
            stack.push_async_callback(dispose, engine)
            reader = await stack.enter_async_context(PostgresReader.open(server, connections=server.reading))
            reserved = None
            if server.reserved:
                reserved = await stack.enter_async_context(PostgresReader.open(server, connections=server.reserved))
            writer = await stack.enter_async_context(PostgresWriter.open(partial(connect, server)))
            transactions = SqlUnitOfWorkFactory(partial(connected, engine))
            yield cls(transactions, reader, writer, PostgresAnswerJournal, reserved=reserved)


async def migrate_sqlite(path: Path) -> bool:
    """Create the database if there is none, and bring it to the newest schema; return whether that took anything.

    Raises what `migrate` does, or `UnreadableDatabase`.
    """
    create_file(path)
    await asyncio.to_thread(read_a_little, path)
    async with _disposed(sqlite_engine(path, patience=SQLITE_MIGRATION_PATIENCE)) as engine:
        changed = await migrate(engine)
    make_private(path)  # whatever else somebody may have named by mistake stays as it is
    return changed


async def migrate_server(server: PostgresServer) -> bool:
    """The same for a database of PostgreSQL, which must be there, if only empty."""
    async with migrating_engine(server) as engine:
        return await migrate(engine)


async def pending_in_sqlite(path: Path) -> Sequence[str]:
    """The migrations that are still to come, oldest first; nothing is changed."""
    if not await asyncio.to_thread(path.exists):
        return await pending(None)
    await asyncio.to_thread(read_a_little, path)
    async with _disposed(sqlite_engine(path)) as engine:
        return await pending(engine)


async def pending_on_server(server: PostgresServer) -> Sequence[str]:
    """The same for a database of PostgreSQL."""
    async with migrating_engine(server) as engine:
        return await pending(engine)


def migrating_engine(server: PostgresServer) -> AbstractAsyncContextManager[AsyncEngine]:
    """No statement is too long for it: a table that takes longer than a time-out could never be changed."""
    from llm_backend.infrastructure.sql.postgres import postgres_engine

    return _disposed(postgres_engine(replace(server, statement_timeout=None, lock_timeout=MIGRATION_PATIENCE)))


@asynccontextmanager
async def _disposed(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    try:
        yield engine
    finally:
        await engine.dispose()
