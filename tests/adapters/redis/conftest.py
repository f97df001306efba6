import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from llm_backend.infrastructure.redis.connection import Patience, RedisConnection
from llm_backend.testing.contracts.cache import Pass
from tests.servers import RedisClusterServers, RedisServer

UNHURRIED = Patience(command=timedelta(seconds=20), cool_down=timedelta(0))  # for machines under load


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisClusterServers]:
    with RedisClusterServers() as servers:
        yield servers


@pytest.fixture(params=["one", "cluster"])
async def connection(request: pytest.FixtureRequest) -> AsyncIterator[RedisConnection]:
    """A connection to an empty Redis, or to an empty Redis Cluster."""
    is_cluster = request.param == "cluster"
    servers = request.getfixturevalue("shared_cluster" if is_cluster else "shared_server")
    async with RedisConnection.open(servers.address, cluster=is_cluster, patience=UNHURRIED) as connection:
        await connection.run(lambda client: client.flushall())  # type: ignore[attr-defined]
        yield connection


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis to be stopped and started at will."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def pass_time() -> Pass:
    async def pass_time(duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())  # Redis goes by its own clock

    return pass_time
