"""Everything that is stored in SQL, and the lifetimes of what it takes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sqlalchemy import literal, select

from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.sessions import SessionViews
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews
from llm_backend.infrastructure.sql.jobs import SqlJobs
from llm_backend.infrastructure.sql.journal import SqlAnswerJournal
from llm_backend.infrastructure.sql.migrating import migrate
from llm_backend.infrastructure.sql.ports import Reader, Writer
from llm_backend.infrastructure.sql.sqlite import (
    PATIENCE,
    TURN_PATIENCE,
    Pragmas,
    SqliteReader,
    SqliteWriter,
    create_file,
    sqlite_engine,
)
from llm_backend.infrastructure.sql.statements import Query
from llm_backend.infrastructure.sql.unit_of_work import SqlUnitOfWorkFactory
from llm_backend.infrastructure.sql.views import SqlConversationViews, SqlKnowledgeViews, SqlSessionViews
from llm_backend.infrastructure.sql.write_turns import WriteTurns

MIGRATION_PATIENCE = 60.0  # seconds to wait for another process that migrates


class SqlStore:
    """The ports that are kept with the help of one database."""

    transactions: UnitOfWorkFactory
    session_views: SessionViews
    conversation_views: ConversationViews
    knowledge_views: KnowledgeViews
    journal: AnswerJournal
    jobs: SqlJobs

    def __init__(self, transactions: UnitOfWorkFactory, reader: Reader, writer: Writer) -> None:
        self.transactions = transactions
        self.session_views = SqlSessionViews(reader)
        self.conversation_views = SqlConversationViews(reader)
        self.knowledge_views = SqlKnowledgeViews(reader)
        self.journal = SqlAnswerJournal(reader, writer)
        self.jobs = SqlJobs(reader, writer)
        self._reader = reader
        self._ping = reader.prepare(select(literal(1)))

    async def check(self) -> None:
        """Raises `DatabaseUnavailable` when it cannot be read."""
        await self._reader.fetch(Query(self._ping))

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
        `pragmas` are added to those of each connection. Raises `DatabaseUnavailable` or `SchemaTooNew`.
        """
        await migrate_sqlite(path)
        turns = WriteTurns(turn_patience)
        async with AsyncExitStack() as stack:
            engine = sqlite_engine(path, patience=patience, pragmas=pragmas)
            stack.push_async_callback(engine.dispose)
            reader = SqliteReader(path, patience=patience, pragmas=pragmas)
            stack.push_async_callback(reader.close)
            writer = SqliteWriter(path, turns, patience=patience, pragmas=pragmas)
            stack.push_async_callback(writer.close)
            yield cls(SqlUnitOfWorkFactory(engine, turns), reader, writer)


async def migrate_sqlite(path: Path) -> bool:
    """Create the database if there is none, and bring it to the newest schema; return whether that took anything."""
    create_file(path)
    engine = sqlite_engine(path, patience=MIGRATION_PATIENCE)
    try:
        return await migrate(engine)
    finally:
        await engine.dispose()
