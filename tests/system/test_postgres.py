"""The server on PostgreSQL: it says so, survives kill -9, and outlives its database."""

from collections.abc import Iterator

import pytest

from tests.servers import PostgresCluster
from tests.system.processes import NewServer, connected, killed, started
from tests.system.streams import answered
from tests.upstream import Upstream


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster


async def test_what_was_acknowledged_survives_kill_9_and_an_absence_of_postgresql(
    cluster: PostgresCluster, new_server: NewServer, config: str, upstream: Upstream
) -> None:
    environment = {"LLM_BACKEND__DATABASE__URL": cluster.url()}
    server = await started(new_server(config, environment=environment))
    async with connected(server) as client:
        alice = await client.new_user("alice")
        conversation = await alice.new_conversation(model="ok:tokens=3")
        assert (await answered(alice, conversation)).status_code == 200
        history = await alice.history(conversation)
    await killed(server)

    await started(server)
    async with connected(server) as client:
        again = type(alice)(client.http, alice.token)
        assert await again.history(conversation) == history

        cluster.stop()
        for path in (f"/api/conversations/history/{conversation}", "/readyz"):
            assert (await again.get(path)).status_code == 503
        refused = await again.post("/api/conversations/create", {"title": "No", "model": "demo"})
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert (await answered(again, conversation)).status_code == 503

        cluster.start()
        assert await again.history(conversation) == history
        assert (await again.get("/readyz")).status_code == 200
        assert (await answered(again, conversation)).status_code == 200

    assert f"scaled: PostgreSQL at 127.0.0.1:{cluster.port}/postgres, the rest in" in server.output
