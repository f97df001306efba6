"""Bringing a database to the newest schema, once, however many processes start at the same time.

Alembic costs 150 ms of CPU to import, so a database that is up to date is recognised without it.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path

from sqlalchemy import Connection, Inspector, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.domain.errors import DomainError
from llm_backend.infrastructure.sql.errors import translated

logger = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"
UNFINISHED = "unfinished_move"  # a table that is there as long as rows are being brought from somewhere else
TABLE_PATIENCE = timedelta(minutes=1)  # while a table is waited for, nobody else gets at it either
_ILLEGIBLE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN}
_ALEMBIC = threading.Lock()
_LOOK_AGAIN = 0.02  # seconds
TURN = 0x6C6C6D5F6261636B  # the name of the lock that PostgreSQL knows us by


class SchemaTooNew(DomainError):
    """A newer version of the program has used this database."""

    code = "schema_too_new"
    default_message = "The database was made by a newer version of this program"


class ForeignDatabase(DomainError):
    """Somebody else's tables are in it, and it stays as it is."""

    code = "foreign_database"
    default_message = (
        "The database was made by another program, such as the old product: "
        "name a new one in sqlite.path or database.url, or move the old one away"
    )


class UnreadableDatabase(DomainError):
    """There is something in its place, and SQLite can make nothing of it."""

    code = "unreadable_database"
    default_message = (
        "sqlite.path names no database of SQLite, a damaged one, or one that cannot be opened: "
        "name another, or bring back a backup"
    )


class UnfinishedMove(DomainError):
    """What was being brought into it has not arrived as a whole."""

    code = "unfinished_move"
    default_message = (
        "Bringing the contents of this database from somewhere else was cut off: "
        "run the same command again, or begin with an empty database"
    )


def read_a_little(path: Path) -> None:
    """Raises `UnreadableDatabase` where waiting is in vain, as it is not where a database is busy. Looked at by itself,
    for the driver leaves a thread behind where it cannot open one, which complains at the end."""
    try:
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in _ILLEGIBLE:
            raise UnreadableDatabase from error


def newest_revision() -> str:
    """The revision that the code needs. Files are named `<revision>_<what it does>.py`, and revisions sort by date."""
    return max(map(_revision_of, _names()))


def _names() -> list[str]:
    return sorted(path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _revision_of(name: str) -> str:
    return "_".join(name.split("_")[:2])


async def pending(engine: AsyncEngine | None) -> Sequence[str]:
    """The names of the migrations that this database lacks, oldest first; without a database all of them.

    Raises as `migrate` does, and changes nothing.
    """
    revision = None if engine is None else await _current(engine)
    return [name for name in _names() if revision is None or _revision_of(name) > revision]


async def migrate(engine: AsyncEngine, *, table_patience: timedelta = TABLE_PATIENCE) -> bool:
    """Bring the schema to the newest revision; return whether there was anything to do.

    Whoever comes first migrates, all or nothing; the others wait, as long as the engine's locks may be waited for, and
    find it done. In PostgreSQL a table that somebody else is using, such as a backup, is waited for no longer than
    `table_patience`. Raises `SchemaTooNew`, `ForeignDatabase`, `UnfinishedMove` or `DatabaseUnavailable`.
    """
    if await _is_current(engine):
        return False
    import_module("alembic.command")  # before the lock is taken, for it takes its time
    with translated():
        async with engine.begin() as connection:
            if not await connection.run_sync(partial(_is_outdated, table_patience=table_patience)):
                return False
            async with _alembic_alone():
                await connection.run_sync(_upgrade)
            return True


@asynccontextmanager
async def _alembic_alone() -> AsyncIterator[None]:
    """It keeps what it is at in its modules: the tables of two databases that were migrated at the same time, by the
    tasks or threads of one process, got mixed up."""
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 - who has it may be in another thread
        await asyncio.sleep(_LOOK_AGAIN)
    try:
        yield
    finally:
        _ALEMBIC.release()


async def _is_current(engine: AsyncEngine) -> bool:
    return await _current(engine) == newest_revision()


async def _current(engine: AsyncEngine) -> str | None:
    with translated():
        async with engine.connect() as connection:
            revision = await connection.run_sync(_revision)
    if revision is not None and revision > newest_revision():
        raise SchemaTooNew
    return revision


def _revision(connection: Connection) -> str | None:
    inspector: Inspector = inspect(connection)
    tables = inspector.get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise ForeignDatabase
        return None
    if UNFINISHED in tables:
        raise UnfinishedMove
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _is_outdated(connection: Connection, table_patience: timedelta) -> bool:
    """Once nobody else migrates it."""
    if connection.dialect.name == "postgresql":  # SQLite has taken its lock when the transaction began
        _take_turn(connection)
        milliseconds = str(round(table_patience.total_seconds() * 1000))
        connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), {"patience": milliseconds})
    return _revision(connection) != newest_revision()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _take_turn(connection: Connection) -> None:
    """It may take hours, so whoever looks at the log is told."""
    if connection.execute(text("SELECT pg_try_advisory_xact_lock(:turn)"), {"turn": TURN}).scalar():
        return
    logger.info("Another process is migrating the database: waiting for it to end")
    connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})
