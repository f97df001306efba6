"""A server in a process of its own and a provider that misbehaves on demand, shared by the tests that only talk to
them; and servers of one's own for the tests that kill, stop and misconfigure them.

All tests of this folder run in one event loop, in which the provider serves.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.processes import NewServer, configuration, connected
from tests.upstream import Upstream

HERE = Path(__file__).parent
SHOWN_LINES = 80


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    one_loop = pytest.mark.asyncio(loop_scope="session")
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(one_loop, append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show what the servers of a failed test wrote."""
    report = yield
    if report.failed:
        for number, server in enumerate(_servers_of(item), 1):
            report.sections.append((f"server {number}", "\n".join(server.output.splitlines()[-SHOWN_LINES:])))
    return report


def _servers_of(item: pytest.Item) -> list[ServerProcess]:
    given: dict[str, Any] = getattr(item, "funcargs", {})
    return [*given.get("own_servers", []), *([given["server"]] if "server" in given else [])]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def provider() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(provider: Upstream) -> Iterator[Upstream]:
    """The provider, and nothing left in it of other tests."""
    provider.requests.clear()
    yield provider
    provider._queue.clear()


@pytest.fixture
def config(provider: Upstream) -> str:
    return configuration(provider.base_url)


@pytest.fixture(scope="session")
def server(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """For tests that leave it as they found it."""
    with ServerProcess(tmp_path_factory.mktemp("shared"), configuration(provider.base_url)) as server:
        yield server


@pytest.fixture
def own_servers() -> Iterator[list[ServerProcess]]:
    servers: list[ServerProcess] = []
    yield servers
    for server in servers:
        server.__exit__()


@pytest.fixture
def kind_of_server() -> type[ServerProcess]:
    return ServerProcess


@pytest.fixture
def new_server(own_servers: list[ServerProcess], kind_of_server: type[ServerProcess], tmp_path: Path) -> NewServer:
    def make(config: str = "", *, environment: Mapping[str, str] | None = None) -> ServerProcess:
        server = kind_of_server(tmp_path, config, environment=environment)
        own_servers.append(server)
        return server

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: ServerProcess, upstream: Upstream) -> AsyncIterator[Client]:
    """Somebody who has not logged in."""
    async with connected(server) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def alice(client: Client) -> Client:
    return await client.new_user()


@pytest_asyncio.fixture(loop_scope="session")
async def bob(client: Client) -> Client:
    return await client.new_user()
