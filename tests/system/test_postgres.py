"""The server on PostgreSQL: it says so, survives kill -9, and outlives its database."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from llm_backend.application.ending import PATIENCE_AT_THE_END
from llm_backend.application.heartbeat import EVERY
from tests.servers import PostgresCluster
from tests.system.processes import NewServer, configuration, connected, killed, started, terminated
from tests.system.streams import STRICT, answered, asking, events_of, first_events
from tests.upstream import Upstream

MOST_LEFT = 20.0  # seconds in which all is closed once the answers are


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


async def test_sigterm_ends_a_server_whose_database_does_not_answer_any_more(
    cluster: PostgresCluster, new_server: NewServer, upstream: Upstream
) -> None:
    environment = {"LLM_BACKEND__DATABASE__URL": cluster.url()}
    server = await started(new_server(configuration(upstream.base_url, grace="1s"), environment=environment))
    async with connected(server) as client:
        alice = await client.new_user("alice")
        running = await alice.new_conversation(model="waits:after=3")
        async with asking(alice, running, **STRICT) as reply:
            await first_events(events_of(reply), 3)
            cluster.freeze()
            await asyncio.sleep(EVERY.total_seconds() + 1)  # until it has looked for answers to take over
            began = time.monotonic()
            status = await terminated(server)
            took = time.monotonic() - began
    cluster.thaw()

    assert status == 0
    assert took < 1 + PATIENCE_AT_THE_END.total_seconds() + MOST_LEFT
    assert "Traceback" not in server.output

    await started(server)
    async with connected(server) as client:
        alice = type(alice)(client.http, alice.token)
        assert (await alice.history(running))[0]["content"] == "Hello"
        assert (await answered(alice, await alice.new_conversation(model="ok:tokens=3"))).status_code == 200
