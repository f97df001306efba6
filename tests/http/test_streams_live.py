"""Streams over real sockets: pieces as they come, hang-ups, resuming, stopping, keep-alives, shutdown."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any

import pytest
from httpx import AsyncClient, AsyncHTTPTransport, Response
from httpx_sse import EventSource, ServerSentEvent

from llm_backend.application.backend import Backend
from llm_backend.interface.http.app import create_app
from llm_backend.interface.http.options import HttpOptions
from llm_backend.interface.http.server import HttpServer
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel
from tests.http.apps import app_over
from tests.http.clients import NO_CERTIFICATES, Client
from tests.live import serving

STRICT = {"Accept": "text/event-stream"}
SOON = 10.0  # seconds, after which a test that waits for something has failed


@pytest.fixture
async def server(backend: Backend, options: HttpOptions) -> AsyncIterator[HttpServer]:
    with app_over(backend, options) as app:
        async with serving(app, drain=backend.drain) as server:
            yield server


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[Client]:
    async with AsyncClient(base_url=server.url, timeout=SOON, verify=NO_CERTIFICATES) as http:
        yield Client(http)


@asynccontextmanager
async def asking(client: Client, conversation: int, message: str = "Hello", **headers: str) -> AsyncIterator[Response]:
    """An open stream."""
    headers["Authorization"] = f"Bearer {client.token}"
    path = f"/api/chat/{conversation}"
    async with client.http.stream("POST", path, json={"message": message}, headers=headers) as reply:
        yield reply


async def strict_events(reply: Response) -> list[ServerSentEvent]:
    return [event async for event in EventSource(reply).aiter_sse()]


def data_of(event: ServerSentEvent) -> Any:
    return json.loads(event.data)["data"]


async def finished(client: Client, conversation: int) -> list[dict[str, Any]]:
    """The history, once the running answer has been stored."""
    await client.get(f"/api/chat/{conversation}/stream")
    return await client.history(conversation)


async def test_a_piece_is_seen_before_the_next_one_is_written(client: Client, model: ScriptedChatModel) -> None:
    alice = await client.new_user()
    conversation = await alice.new_conversation()
    go_on = asyncio.Event()
    model.play_next("first", go_on, "second")

    async with asking(alice, conversation) as reply:
        pieces = reply.aiter_text()
        first = await anext(pieces)
        go_on.set()
        rest = "".join([piece async for piece in pieces])

    assert first == '{"event":"message","data":"first"}\n\n'
    assert '{"event":"message","data":"second"}\n\n' in rest


async def test_strict_events_carry_ids_and_names(client: Client, model: ScriptedChatModel) -> None:
    alice = await client.new_user()
    conversation = await alice.new_conversation()
    model.play_next("R", ["ust", " is"], "\u2028fine\r\n")

    async with asking(alice, conversation, **STRICT) as reply:
        events = await strict_events(reply)

    assert [event.event for event in events] == ["message"] * 4 + ["done", "full_response"]
    assert [data_of(event) for event in events][-2:] == ["Stream finished", "Rust is\u2028fine\r\n"]
    answer = events[0].id.partition(".")[0]
    assert [event.id for event in events] == [f"{answer}.{number}" for number in range(1, 7)]
    assert events[0].retry == 1000
    assert all(json.loads(event.data)["event"] == event.event for event in events)


async def test_a_client_that_leaves_changes_nothing(client: Client, model: ScriptedChatModel) -> None:
    alice = await client.new_user()
    conversation = await alice.new_conversation()
    go_on = asyncio.Event()
    model.play_next("one", "two", "three", go_on, "four")

    async with asking(alice, conversation) as reply:
        await anext(reply.aiter_text())
    go_on.set()

    history = await finished(alice, conversation)
    assert history[1] == {"role": "assistant", "content": "onetwothreefour", "message_id": 2}


async def test_a_client_that_reads_slowly_misses_nothing_and_holds_up_nobody(
    server: HttpServer, model: ScriptedChatModel
) -> None:
    """More than all buffers on the way can hold: 6 bytes a character, as each is escaped, and the whole text again."""
    pieces = [letter * 10_000 for letter in "\x01\x02\x03" * 30]
    model.play_next(*pieces)
    small = AsyncHTTPTransport(socket_options=[(SOL_SOCKET, SO_RCVBUF, 65536)])
    async with AsyncClient(base_url=server.url, timeout=SOON, transport=small) as http:
        alice = await Client(http).new_user()
        conversation = await alice.new_conversation()

        async with asking(alice, conversation, **STRICT) as reply:
            stored = await finished(alice, conversation)
            events = await strict_events(reply)

    assert stored[1]["content"] == "".join(pieces)
    assert [data_of(event) for event in events[:-2]] == pieces
    assert [event.event for event in events[-2:]] == ["done", "full_response"]


async def test_a_client_that_leaves_before_the_first_word_changes_nothing(
    client: Client, model: ScriptedChatModel
) -> None:
    alice = await client.new_user()
    conversation = await alice.new_conversation()
    go_on = asyncio.Event()
    model.play_next(go_on, "after all")
    asked = asyncio.create_task(alice.post(f"/api/chat/{conversation}", {"message": "Hello"}))
    await model.asked()

    asked.cancel()
    await asyncio.wait([asked])
    go_on.set()

    history = await finished(alice, conversation)
    assert history[1]["content"] == "after all"


async def test_a_repeated_post_resumes_after_the_last_event_seen(client: Client, model: ScriptedChatModel) -> None:
    alice = await client.new_user()
    conversation = await alice.new_conversation()
    go_on = asyncio.Event()
    model.play_next("one", "two", go_on, "three")
    async with asking(alice, conversation, **STRICT) as reply:
        events = EventSource(reply).aiter_sse()
        seen = await anext(events)

    headers = {**STRICT, "Last-Event-ID": seen.id}
    async with asking(alice, conversation, **headers) as reply:
        go_on.set()
        resumed = await strict_events(reply)

    assert [event.id.partition(".")[2] for event in resumed] == ["2", "3", "4", "5"]
    assert [data_of(event) for event in resumed] == ["two", "three", "Stream finished", "onetwothree"]
    assert len(model.requests) == 1


async def test_a_get_follows_the_running_answer(client: Client, model: ScriptedChatModel) -> None:
    alice = await client.new_user()
    conversation = await alice.new_conversation()
    go_on = asyncio.Event()
    model.play_next("one", go_on, "two")
    async with asking(alice, conversation) as reply:
        await anext(reply.aiter_text())

        late = asyncio.create_task(alice.get(f"/api/chat/{conversation}/stream?after=1"))
        go_on.set()
        text = (await late).text

    assert text.startswith('{"event":"message","data":"two"}\n\n')
    assert text.endswith('{"event":"full_response","data":"onetwo"}\n\n')


async def test_stop_ends_the_stream_and_keeps_what_was_written(client: Client, model: ScriptedChatModel) -> None:
    alice = await client.new_user()
    conversation = await alice.new_conversation()
    model.play_next("partial", FOREVER)

    async with asking(alice, conversation) as reply:
        pieces = reply.aiter_text()
        await anext(pieces)
        stopped = await alice.post(f"/api/chat/{conversation}/stop")
        rest = "".join([piece async for piece in pieces])

    assert stopped.status_code == 200
    assert stopped.json() == {"message": "Answer stopped"}
    assert json.loads(rest)["event"] == "stream_error"
    assert json.loads(rest)["data"]["code"] == "stopped"
    assert (await alice.history(conversation))[1] == {
        "role": "assistant",
        "content": "partial",
        "message_id": 2,
        "state": "incomplete",
        "reason": "stopped",
    }


async def test_a_silent_strict_stream_is_kept_alive_by_comments(
    backend: Backend, model: ScriptedChatModel, tmp_path: Path
) -> None:
    options = HttpOptions(keep_alive=timedelta(seconds=0.02), scratch=tmp_path)
    model.play_next("one", FOREVER)

    async with serving(create_app(backend, options)) as server, AsyncClient(base_url=server.url) as http:
        alice = await Client(http).new_user()
        conversation = await alice.new_conversation()
        text = ""
        async with asking(alice, conversation, **STRICT) as reply:
            async for piece in reply.aiter_text():
                text += piece
                if text.count(": ping") == 3:
                    break
        await alice.post(f"/api/chat/{conversation}/stop")

    blocks, _, pings = text.partition("\n\n")
    assert blocks.endswith('data: {"event":"message","data":"one"}')
    assert pings == ": ping\n" * 3


async def test_the_default_framing_is_never_kept_alive(
    backend: Backend, model: ScriptedChatModel, tmp_path: Path
) -> None:
    options = HttpOptions(keep_alive=timedelta(seconds=0.01), scratch=tmp_path)
    go_on = asyncio.Event()
    model.play_next("one", go_on, "two")

    async with serving(create_app(backend, options)) as server, AsyncClient(base_url=server.url) as http:
        alice = await Client(http).new_user()
        conversation = await alice.new_conversation()
        async with asking(alice, conversation) as reply:
            pieces = reply.aiter_text()
            await anext(pieces)
            await asyncio.sleep(0.1)  # ten times as long as a strict stream would be left silent
            go_on.set()
            rest = "".join([piece async for piece in pieces])

    assert rest.startswith('{"event":"message","data":"two"}\n\n')


async def test_shutdown_lets_running_answers_come_to_their_end(
    backend: Backend, options: HttpOptions, model: ScriptedChatModel
) -> None:
    go_on = asyncio.Event()
    model.play_next("one", go_on, "two")

    serve = serving(create_app(backend, options), drain=backend.drain)
    async with serve as server, AsyncClient(base_url=server.url) as http:
        alice = await Client(http).new_user()
        conversation = await alice.new_conversation()
        async with asking(alice, conversation) as reply:
            pieces = reply.aiter_text()
            await anext(pieces)
            server.stop()
            await asyncio.sleep(0.3)  # until it has noticed
            go_on.set()
            rest = "".join([piece async for piece in pieces])

    assert rest.endswith('{"event":"full_response","data":"onetwo"}\n\n')


async def test_head_of_a_stream_is_refused_and_nobody_follows_it(client: Client, model: ScriptedChatModel) -> None:
    """Neither to its end, nor for as long as nothing comes."""
    alice = await client.new_user()
    conversation, shelf = await alice.new_conversation(), await alice.new_knowledge_base()
    document = await alice.new_document(shelf)
    go_on = asyncio.Event()
    model.play_next("first", go_on)
    paths = [f"/api/rag/doc/events?doc_id={document}", f"/api/chat/{conversation}/stream"]
    async with asking(alice, conversation) as reply:
        await anext(reply.aiter_bytes())
        looked = [await alice.request("HEAD", path) for path in paths]
        go_on.set()
    response = (await alice.post("/v1/responses", {"model": "gpt-4o", "input": "Hello"})).json()["id"]
    looked.append(await alice.request("HEAD", f"/v1/responses/{response}?stream=true"))

    whole = await alice.request("HEAD", f"/v1/responses/{response}")

    assert [(reply.status_code, reply.headers["allow"]) for reply in looked] == [(405, "GET")] * 3
    assert whole.status_code == 200
