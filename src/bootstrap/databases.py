"""The database that the settings name. Imported when one is wanted, for it takes SQLAlchemy along."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.config import Settings
from llm_backend.infrastructure.files.folders import make_private
from llm_backend.infrastructure.files.lock import lock_database, lock_folder
from llm_backend.infrastructure.sql import (
    PostgresServer,
    SqlStore,
    migrate_server,
    migrate_sqlite,
    pending_in_sqlite,
    pending_on_server,
)
from llm_backend.infrastructure.sql.sqlite import sqlite_engine

MOVING_PATIENCE = timedelta(hours=6)  # also for a snapshot that waits while a large table is being added up elsewhere
MOVING_CONNECTIONS = 2  # a snapshot keeps one to its end, and meanwhile somebody looks whether a server is at work


async def open_store(settings: Settings, stack: AsyncExitStack) -> SqlStore:
    """PostgreSQL, which several processes may share, with a data folder that they may share as well; or SQLite, which
    is ours alone, as is the data folder, where passages and keys belong to it."""
    if settings.database.url is None:
        stack.enter_context(lock_folder(settings.data_folder))
        stack.enter_context(lock_database(settings.database_file))
    return await open_store_beside_servers(settings, stack)


async def open_store_beside_servers(settings: Settings, stack: AsyncExitStack) -> SqlStore:
    """The same for commands that may run while a server has the database: each keeps its writers apart by itself."""
    if server := _server(settings):
        make_private(settings.data_folder)
        return await stack.enter_async_context(SqlStore.open_server(server))
    patience = settings.sqlite.busy_timeout.total_seconds()
    return await stack.enter_async_context(SqlStore.open(settings.database_file, patience=patience))


async def migrate(settings: Settings) -> bool:
    """Bring it to the newest schema; return whether that took anything."""
    server = _server(settings)
    return await (migrate_server(server) if server else migrate_sqlite(settings.database_file))


async def pending(settings: Settings) -> Sequence[str]:
    """The names of the migrations that are still to come, oldest first; nothing is changed."""
    server = _server(settings)
    return await (pending_on_server(server) if server else pending_in_sqlite(settings.database_file))


async def open_engine(settings: Settings, stack: AsyncExitStack, *, reading: bool = False) -> AsyncEngine:
    """For work on all tables as a whole, such as moving them; the schema is taken as it is."""
    if server := _server(settings):
        from llm_backend.infrastructure.sql.postgres import postgres_engine

        patient = replace(server, statement_timeout=MOVING_PATIENCE, lock_timeout=MOVING_PATIENCE)
        engine = postgres_engine(patient, at_least=MOVING_CONNECTIONS)
    else:
        engine = sqlite_engine(settings.database_file, reading=reading)
    stack.push_async_callback(engine.dispose)
    return engine


def place_of(settings: Settings) -> str:
    """What the database is called, without user and password."""
    if settings.database.url is None:
        return f"SQLite at {settings.database_file.resolve()}"
    return f"PostgreSQL at {settings.database.place}"


def _server(settings: Settings) -> PostgresServer | None:
    database = settings.database
    if database.url is None:
        return None
    return PostgresServer(
        url=database.url,
        pool_min=database.pool_min,
        pool_max=database.pool_max,
        connect_timeout=database.connect_timeout,
        statement_timeout=database.statement_timeout,
        lock_timeout=database.lock_timeout,
    )
