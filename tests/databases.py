"""Fixtures for tests on SQLite, PostgreSQL, Redis and S3: one server for each worker, and for each test a database with
nothing in it. Migrating one takes more CPU time than most tests, so it is done once for each worker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.sql import PostgresServer, migrate_server
from llm_backend.infrastructure.sql.sqlite import create_file
from llm_backend.infrastructure.sql.store import migrate_sqlite
from tests.servers import PostgresCluster, RedisServer, S3Server

TEMPLATE = "template_of_tests"
UNHURRIED = timedelta(seconds=60)  # for machines under load
MOST_USES = 30  # of one database: nobody vacuums it
CUT_OTHERS = """\
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Changes with every CREATE, ALTER and DROP of a table, an index or a trigger, and with ANALYZE.
CATALOG = """\
SELECT (SELECT sum(xmin::text::bigint) FROM pg_class), (SELECT count(*) FROM pg_class),
    (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_statistic)
"""
EMPTY = """\
DO $$
DECLARE name text;
BEGIN
    SET LOCAL session_replication_role = replica; -- in any order, whatever refers to what
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    PERFORM setval(sequencename::regclass, start_value, false) FROM pg_sequences WHERE last_value IS NOT NULL;
END $$
"""


class Databases:
    """Databases in one cluster. A copy of a migrated one takes a tenth of the time of a migration, and to empty it
    again a tenth of that of a copy."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self.cluster = cluster
        self._numbers = count(1)
        self._emptied: list[tuple[str, int]] = []
        self._catalog: tuple[Any, ...] = ()

    async def make_template(self) -> None:
        await self.execute(f"CREATE DATABASE {TEMPLATE}")
        await migrate_server(server(self.cluster.url(TEMPLATE)))
        async with self._connected(TEMPLATE) as connection:
            self._catalog = tuple(await connection.fetchrow(CATALOG))

    @asynccontextmanager
    async def new(self, template: str = TEMPLATE) -> AsyncIterator[PostgresServer]:
        """One that nobody has had before."""
        name = await self._make(template)
        try:
            yield server(self.cluster.url(name))
        finally:
            await self._drop(name)

    @asynccontextmanager
    async def emptied(self) -> AsyncIterator[PostgresServer]:
        """One with all tables and nothing in them, which an earlier test may have had."""
        name, uses = self._emptied.pop() if self._emptied else (await self._make(TEMPLATE), 0)
        try:
            yield server(self.cluster.url(name))
        finally:
            if uses + 1 < MOST_USES and await self._empty(name):
                self._emptied.append((name, uses + 1))
            else:
                await self._drop(name)

    async def execute(self, statement: str, database: str = "postgres") -> None:
        async with self._connected(database) as connection:
            await connection.execute(statement)

    async def _make(self, template: str) -> str:
        name = f"test_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    async def _drop(self, name: str) -> None:
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _empty(self, name: str) -> bool:
        """Whether it is again as it was made."""
        async with self._connected(name) as connection:
            await connection.execute(CUT_OTHERS)
            if tuple(await connection.fetchrow(CATALOG)) != self._catalog:
                return False
            await connection.execute(EMPTY)
            return True

    @asynccontextmanager
    async def _connected(self, database: str) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.cluster.url(database, scheme="postgresql"))
        try:
            yield connection
        finally:
            await connection.close()


class SqliteTemplate:
    """A database of SQLite with all tables and nothing in them."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def copy_to(self, path: Path) -> None:
        create_file(path)
        path.write_bytes(self._content)


def server(url: str, *, patience: timedelta = UNHURRIED) -> PostgresServer:
    return PostgresServer(
        url=Secret(url), pool_max=8, connect_timeout=patience, statement_timeout=patience, lock_timeout=patience
    )


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    with PostgresCluster() as cluster:
        databases = Databases(cluster)
        asyncio.run(databases.make_template())
        yield databases


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(migrate_sqlite(path))
    return SqliteTemplate(path.read_bytes())


@pytest.fixture
async def postgres(databases: Databases) -> AsyncIterator[PostgresServer]:
    """An empty database with all tables."""
    async with databases.emptied() as server:
        yield server


@pytest.fixture
async def empty_postgres(databases: Databases) -> AsyncIterator[PostgresServer]:
    """A database without any tables."""
    async with databases.new("template1") as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def empty_redis(redis_server: RedisServer) -> RedisServer:
    """One with nothing in it."""
    redis_server.clear()
    return redis_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Everybody keeps to a prefix of their own."""
    with S3Server() as server:
        yield server
