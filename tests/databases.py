"""Fixtures for tests on PostgreSQL and Redis: one server for each worker, and an empty database for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count

import asyncpg
import pytest

from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.sql import PostgresServer, migrate_server
from tests.servers import PostgresCluster, RedisServer

TEMPLATE = "template_of_tests"
UNHURRIED = timedelta(seconds=60)  # for machines under load


class Databases:
    """Databases in one cluster. A copy of a migrated one takes a tenth of the time of a migration."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self.cluster = cluster
        self._numbers = count(1)

    @asynccontextmanager
    async def new(self, template: str = TEMPLATE) -> AsyncIterator[PostgresServer]:
        name = f"test_{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield server(self.cluster.url(name))
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, statement: str, database: str = "postgres") -> None:
        connection = await asyncpg.connect(self.cluster.url(database, scheme="postgresql"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def server(url: str, *, patience: timedelta = UNHURRIED) -> PostgresServer:
    return PostgresServer(
        url=Secret(url), pool_max=8, connect_timeout=patience, statement_timeout=patience, lock_timeout=patience
    )


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    with PostgresCluster() as cluster:
        databases = Databases(cluster)
        asyncio.run(_make_template(databases))
        yield databases


async def _make_template(databases: Databases) -> None:
    await databases.execute(f"CREATE DATABASE {TEMPLATE}")
    await migrate_server(server(databases.cluster.url(TEMPLATE)))


@pytest.fixture
async def postgres(databases: Databases) -> AsyncIterator[PostgresServer]:
    """An empty database with all tables."""
    async with databases.new() as server:
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
