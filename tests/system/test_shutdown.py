"""SIGTERM: no new work, running answers come to their end or are kept in part, exit status 0."""

import asyncio
import signal
import time

import httpx
import pytest
from httpx import ConnectError, TransportError

from tests.http.clients import Client
from tests.live import FreshServerProcess, ServerProcess
from tests.system.processes import NewServer, configuration, connected, started, terminated
from tests.system.streams import SOON, STRICT, answered, asking, data_of, events_of, first_events
from tests.upstream import Upstream, text

QUICKLY = 10.0  # seconds; far less than the grace


@pytest.fixture
def kind_of_server() -> type[ServerProcess]:
    return FreshServerProcess


async def takes_no_more_connections(server: ServerProcess) -> None:
    """Asks until it is refused: nobody tells when the server has noticed the signal."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                async with httpx.AsyncClient() as http:
                    await http.get(f"{server.url}/healthz")
            except ConnectError:
                return
            except TransportError:
                continue  # it was waiting to be taken when the server stopped taking


async def is_refused(client: Client, conversation: int) -> bool:
    """By a status, or because the connection, which was kept, has been closed meanwhile."""
    try:
        return (await answered(client, conversation, "One more?")).status_code == 503
    except TransportError:
        return True


async def test_a_running_answer_comes_to_its_end_and_nothing_new_is_taken(
    new_server: NewServer, config: str, upstream: Upstream
) -> None:
    server = await started(new_server(config))
    async with connected(server) as client:
        alice = await client.new_user()
        conversation = await alice.new_conversation(model="waits:after=3,tokens=30")
        async with asking(alice, conversation, **STRICT) as reply:
            events = events_of(reply)
            await first_events(events, 3)
            ending = asyncio.create_task(terminated(server))
            await takes_no_more_connections(server)
            assert not ending.done()
            (await upstream.arrived()).go_on.set()
            rest = [event async for event in events]
    status = await ending

    assert [event.event for event in rest][-2:] == ["done", "full_response"]
    assert data_of(rest[-1]) == text(30)
    assert status == 0

    await started(server)
    async with connected(server) as client:
        history = await Client(client.http, alice.token).history(conversation)
    assert history[1] == {"role": "assistant", "content": text(30), "message_id": 2}


async def test_a_connection_that_is_open_already_starts_no_new_answer(
    new_server: NewServer, config: str, upstream: Upstream
) -> None:
    server = await started(new_server(config))
    async with connected(server) as client:
        alice = await client.new_user()
        running = await alice.new_conversation(model="waits:after=3,tokens=30")
        other = await alice.new_conversation(model="burst:tokens=1")
        async with asking(alice, running, **STRICT) as reply, asking(alice, other) as beside:
            events = events_of(reply)
            await first_events(events, 3)
            await beside.aread()  # its connection is idle now, and kept
            ending = asyncio.create_task(terminated(server))
            await takes_no_more_connections(server)
            assert await is_refused(alice, other)
            (await upstream.arrived()).go_on.set()
            rest = [event async for event in events]

    assert rest[-1].event == "full_response"
    assert await ending == 0
    assert [request.model for request in upstream.requests].count("burst:tokens=1") == 1


async def test_an_answer_that_outlives_the_grace_is_kept_in_part(new_server: NewServer, upstream: Upstream) -> None:
    server = await started(new_server(configuration(upstream.base_url, grace="1s")))
    async with connected(server) as client:
        alice = await client.new_user()
        conversation = await alice.new_conversation(model="waits:after=3")
        async with asking(alice, conversation, **STRICT) as reply:
            events = events_of(reply)
            await first_events(events, 3)
            ending = asyncio.create_task(terminated(server))
            rest = [event async for event in events]
    status = await ending

    assert [event.event for event in rest] == ["stream_error"]
    assert data_of(rest[0])["code"] == "interrupted"
    assert status == 0

    await started(server)
    async with connected(server) as client:
        alice = Client(client.http, alice.token)
        history = await alice.history(conversation)
        resumed = await alice.get(f"/api/chat/{conversation}/stream", headers=STRICT)
    assert history[1] == {
        "role": "assistant",
        "content": text(3),
        "message_id": 2,
        "state": "incomplete",
        "reason": "interrupted",
    }
    assert resumed.text.count("event: message\n") == 3
    assert resumed.text.count("event: stream_error\n") == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_server_ends_at_once(new_server: NewServer, how: int) -> None:
    server = await started(new_server())
    async with connected(server) as client:
        assert (await client.get("/healthz")).status_code == 200  # its connection stays open

        began = time.monotonic()
        status = await terminated(server, how)

    assert status == 0
    assert time.monotonic() - began < QUICKLY
    assert "Traceback" not in server.output


async def test_what_was_used_in_the_last_moment_is_written_down(new_server: NewServer, config: str) -> None:
    server = await started(new_server(config))
    async with connected(server) as client:
        alice = await client.new_user()
        key = await alice.with_key()
        body = {"model": "ok:tokens=3", "messages": [{"role": "user", "content": "Hello"}]}
        replies = [await key.post("/v1/chat/completions", {**body, "stream": True}) for _ in range(3)]
        status = await terminated(server)

    await started(server)
    async with connected(server) as client:
        (line,) = (await Client(client.http, alice.token).get("/api/usage?group_by=model")).json()["usage"]
        (listed,) = (await Client(client.http, alice.token).get("/api/keys")).json()

    assert [reply.status_code for reply in replies] == [200, 200, 200]
    assert status == 0
    assert (line["requests"], line["prompt_tokens"], line["completion_tokens"]) == (3, 21, 9)
    assert listed["last_used_at"]
