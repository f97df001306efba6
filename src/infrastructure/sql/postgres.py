"""Connections to PostgreSQL: how each is set up, those that SQLAlchemy drives, and a reader on the driver alone.

A pool hands out no connection that is known to be dead, and makes new ones when the server is back. asyncpg is
imported with this module, which nobody imports who has no PostgreSQL.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Any, Self

import asyncpg
from sqlalchemy import ClauseElement, event, exc, make_url
from sqlalchemy.dialects.postgresql import asyncpg as dialects
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from llm_backend.application.ending import LAST_WORD
from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.infrastructure.sql.errors import Violation, domain_error, is_nonsense
from llm_backend.infrastructure.sql.server import PostgresServer
from llm_backend.infrastructure.sql.statements import Outcome, Prepared, Query, Row, prepare

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)  # after the server's own limit, before the client takes it for lost

_CACHED_STATEMENTS = 256
_DIALECT: Any = dialects.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


async def connect(server: PostgresServer) -> Any:
    """A connection of asyncpg. Raises `DatabaseUnavailable`; why is in the log."""
    try:
        return await asyncpg.connect(**_options(server))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        logger.warning("PostgreSQL cannot be reached: %s", str(error) or type(error).__name__)
        raise DatabaseUnavailable from error


def _options(server: PostgresServer) -> dict[str, Any]:
    url = make_url(server.url.reveal()).set(drivername="postgresql")
    return {
        "dsn": url.render_as_string(hide_password=False),
        "timeout": server.connect_timeout.total_seconds(),
        "command_timeout": server.statement_timeout and (server.statement_timeout + GRACE).total_seconds(),
        "statement_cache_size": _CACHED_STATEMENTS,
        "max_cached_statement_lifetime": 0,  # for ever
        "server_settings": _session(server),
    }


def _session(server: PostgresServer) -> dict[str, str]:
    """The settings of each session, whatever the server's defaults are."""
    return {
        "application_name": "llm-backend",
        "timezone": "UTC",
        "jit": "off",  # its compiler takes longer than any of our statements
        "default_transaction_isolation": "read committed",  # what must not change meanwhile is locked by name
        "statement_timeout": _milliseconds(server.statement_timeout) if server.statement_timeout else "0",
        "lock_timeout": _milliseconds(server.lock_timeout),
        # a replica that hangs must not hold up the others
        "idle_in_transaction_session_timeout": _milliseconds(server.statement_timeout or server.lock_timeout),
    }


def _milliseconds(duration: timedelta) -> str:
    return str(max(1, round(duration.total_seconds() * 1000)))


def postgres_engine(server: PostgresServer, *, at_least: int = 1) -> AsyncEngine:
    """An engine for units of work and migrations. Connecting through it raises `DatabaseUnavailable`.

    It has the server's connections for work, or `at_least` so many, for whoever holds several at a time.
    """

    async def connected() -> Any:
        return await connect(server)

    def refuse_if_dead(connection: Any, *_: object) -> None:
        """The driver hears at once when a connection ends; asking the server would cost a round trip each time."""
        if connection.driver_connection.is_closed():
            raise exc.InvalidatePoolError

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connected,
        pool_size=max(server.working, at_least),
        max_overflow=0,
        pool_timeout=server.connect_timeout.total_seconds(),
    )
    event.listen(engine.sync_engine, "checkout", refuse_if_dead)
    return engine


async def dispose(engine: AsyncEngine) -> None:
    """Close what its pool has, whether or not the server answers to that."""
    now = asyncio.get_running_loop().time
    deadline = now() + LAST_WORD.total_seconds()

    async def closed(connection: Any) -> None:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # it is gone all the same
            await connection.close(timeout=max(0.0, deadline - now()))

    def close(connection: Any, _: Any) -> None:
        connection.run_async(closed)

    event.listen(engine.sync_engine, "close", close)
    await engine.dispose()


@contextmanager
def translated_driver() -> Iterator[None]:
    """The same as `errors.translated`, for what asyncpg raises; when a connection is cut at a bad moment, that is an
    internal error of its own."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Violation from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if is_nonsense(error):
            raise
        raise domain_error(error) from error


@contextmanager
def cancellation_first() -> Iterator[None]:
    """Whoever is cancelled in the block gets `CancelledError`, whatever else comes up while it is being left: a
    transaction, for example, that cannot be ended any more."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise


def prepare_for_postgres(statement: ClauseElement) -> Prepared:
    """With `$1` for the first parameter, as asyncpg wants it."""
    return prepare(statement, _DIALECT)


class PostgresReader:
    """Reads what has been committed, each time on a connection of the pool."""

    def __init__(self, pool: Any, patience: timedelta) -> None:
        self._pool = pool
        self._patience = patience.total_seconds()

    @classmethod
    @asynccontextmanager
    async def open(cls, server: PostgresServer, *, connections: int) -> AsyncIterator[Self]:
        """With so many connections at the most. Connects at once. Raises `DatabaseUnavailable`."""

        async def connected(*_: object, **__: object) -> Any:
            return await connect(server)

        pool = asyncpg.create_pool(
            min_size=min(server.pool_min, connections),
            max_size=connections,
            connect=connected,
            reset=_leave_as_it_is,
        )
        try:
            await pool
            yield cls(pool, server.connect_timeout)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORD.total_seconds()):
                    await pool.close()
        finally:
            pool.terminate()

    def prepare(self, statement: ClauseElement) -> Prepared:
        return prepare_for_postgres(statement)

    async def fetch(self, *queries: Query) -> Sequence[Sequence[Row]]:
        with cancellation_first(), translated_driver():
            async with self._pool.acquire(timeout=self._patience) as connection:
                if len(queries) == 1:
                    with _cut_when_cancelled(connection):
                        return [(await carried_out(connection, queries[0])).rows]
                return await _fetched_in_one_moment(connection, queries)


async def _leave_as_it_is(connection: Any) -> None:
    """Our sessions are all alike; what asyncpg would say to the server after each use costs as much as the read."""


@contextmanager
def _cut_when_cancelled(connection: Any) -> Iterator[None]:
    """Where asyncpg would ask the server, on another connection, to leave a query, and wait for it to have done so."""
    try:
        yield
    except asyncio.CancelledError:
        connection.terminate()
        raise


async def _fetched_in_one_moment(connection: Any, queries: Sequence[Query]) -> list[Sequence[Row]]:
    with _cut_when_cancelled(connection):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            with _cut_when_cancelled(connection):  # before the end of the transaction, which would wait for the server
                return [(await carried_out(connection, query)).rows for query in queries]


async def carried_out(connection: Any, query: Query) -> Outcome:
    """One statement. Raises what asyncpg raises."""
    statement, values = query
    arguments = statement.arguments(values)
    if statement.returns_rows:
        rows = statement.rows(await connection.fetch(statement.text, *arguments))
        return Outcome(rows, len(rows))
    status = await connection.execute(statement.text, *arguments)
    return Outcome((), int(status.rpartition(" ")[2]))
