"""What the tests of this folder share: a database on the server that all tests have, and the ends of servers' logs."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.databases import Databases
from tests.faults.replicas import Replicas, UpstreamProcess
from tests.servers import PostgresCluster, RedisServer

SHOWN_LINES = 80


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the servers of a failed test wrote."""
    report = yield
    if report.failed:
        given: dict[str, Any] = getattr(item, "funcargs", {})
        for group in given.get("own_replicas", []):
            for number, server in enumerate(group.servers, 1):
                report.sections.append((f"server {number}", "\n".join(server.output.splitlines()[-SHOWN_LINES:])))
    return report


@pytest.fixture
def own_replicas() -> list[Replicas]:
    """Those whose output is shown when a test fails."""
    return []


@pytest.fixture
def upstream_process() -> Iterator[UpstreamProcess]:
    with UpstreamProcess() as upstream:
        yield upstream


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    async with databases.new() as server:
        yield server.url.reveal()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster
