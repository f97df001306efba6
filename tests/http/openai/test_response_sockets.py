"""Responses over a WebSocket, and compaction: the cases by which servers of this API are compared."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import websockets
from structlog.testing import capture_logs

from llm_backend.application.backend import Backend
from llm_backend.domain.answers import CallPiece
from llm_backend.domain.errors import DatabaseUnavailable, UpstreamCutOff, UpstreamUnavailable
from llm_backend.interface.http.app import create_app
from llm_backend.interface.http.options import HttpOptions
from llm_backend.testing.faults import Faults
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.apps import app_over
from tests.http.clients import PASSWORD, Client
from tests.http.openai.test_frame import error_of
from tests.http.openai.test_responses import MODEL, WEATHER, a_shelf_of_two, respond, text_of
from tests.live import serving

TEXT = "Rust 是一种系统编程语言"


class Socket:
    """One connection."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self.connection = connection

    async def ask(self, said: object = "What is Rust?", **fields: Any) -> list[dict[str, Any]]:
        """All events of a response, or the error."""
        message = {"type": "response.create", "model": MODEL, "input": said, **fields}
        await self.connection.send(json.dumps(message))
        return await self.events()

    async def events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        last = {"response.completed", "response.failed", "response.incomplete", "error"}
        while not events or events[-1]["type"] not in last:
            events.append(json.loads(await self.connection.recv()))
        return events


@pytest.fixture
async def url(backend: Backend, options: HttpOptions) -> AsyncIterator[str]:
    with app_over(backend, options) as app:
        async with serving(app) as server:
            yield server.url.replace("http", "ws") + "/v1/responses"


@pytest.fixture
async def socket(url: str, alice: Client) -> AsyncIterator[Socket]:
    async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {alice.token}"}) as connection:
        yield Socket(connection)


async def test_broken_text_is_the_fault_of_the_client(
    url: str, alice: Client, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    async with websockets.connect(url, additional_headers=headers) as connection:
        await connection.send(b"\xff", text=True)
        await asyncio.wait_for(connection.wait_closed(), 10)

    assert connection.close_code == 1007
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_key_for_chat_alone_reads_no_files(url: str, alice: Client) -> None:
    shelf, *_ = await a_shelf_of_two(alice)
    chatter = await alice.with_key(scopes=["chat"])

    async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {chatter.token}"}) as connection:
        (refused,) = await Socket(connection).ask(tools=[{"type": "file_search", "vector_store_ids": [shelf]}])
        allowed = await Socket(connection).ask()

    assert (refused["status"], refused["error"]["code"]) == (403, "scope_missing")
    assert allowed[-1]["type"] == "response.completed"


async def test_basic_text_and_streaming(socket: Socket, alice: Client) -> None:
    events = await socket.ask()

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert "".join(event.get("delta", "") for event in events) == text_of(events[-1]["response"]) == TEXT
    assert (await alice.get(f"/v1/responses/{events[-1]['response']['id']}")).json() == events[-1]["response"]


async def test_what_a_search_has_found_is_told_to_those_who_ask_for_it(socket: Socket, alice: Client) -> None:
    store, *_ = await a_shelf_of_two(alice)
    tools = [{"type": "file_search", "vector_store_ids": [store]}]

    told = await socket.ask("When does the buyer pay?", tools=tools, include=["file_search_call.results"])
    untold = await socket.ask("When does the buyer pay?", tools=tools)

    assert len(told[-1]["response"]["output"][0]["results"]) == 2
    assert untold[-1]["response"]["output"][0]["results"] is None


async def test_a_system_prompt(socket: Socket, model: ScriptedChatModel) -> None:
    await socket.ask([{"role": "system", "content": "Be a pirate"}, {"role": "user", "content": "Hi"}])

    assert [turn.role for turn in model.requests[-1].turns] == ["system", "user"]


async def test_a_tool_call(socket: Socket, model: ScriptedChatModel) -> None:
    model.play_next(CallPiece("", 0, "{}", "call_1", "weather"))
    asked = (await socket.ask("Weather?", tools=[WEATHER]))[-1]["response"]
    result = {"type": "function_call_output", "call_id": "call_1", "output": "Sunny"}
    answer = (await socket.ask([result], tools=[WEATHER], previous_response_id=asked["id"]))[-1]["response"]

    assert asked["output"][0]["type"] == "function_call"
    assert text_of(answer) == TEXT
    assert [turn.text for turn in model.requests[-1].turns] == ["Weather?", "", "Sunny"]


async def test_an_image(socket: Socket, model: ScriptedChatModel) -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    await socket.ask([{"role": "user", "content": [{"type": "input_text", "text": "What?"}, picture]}])

    assert len(model.requests[-1].turns[0].parts) == 2


@pytest.mark.parametrize("store", [True, False])
async def test_several_turns_stored_or_remembered(socket: Socket, model: ScriptedChatModel, store: bool) -> None:
    names: list[str] = []
    for number in range(3):
        previous = {"previous_response_id": names[-1]} if names else {}
        events = await socket.ask(f"{number}", store=store, **previous)
        names.append(events[-1]["response"]["id"])

    assert [turn.text for turn in model.requests[-1].turns] == ["0", TEXT, "1", TEXT, "2"]


async def test_what_is_wrong_is_told_and_the_connection_stays(socket: Socket, model: ScriptedChatModel) -> None:
    await socket.connection.send("{not json")
    garbled = await socket.events()
    unknown = await socket.ask(previous_response_id="resp_1")
    model.play_next("Half", UpstreamCutOff())
    failed = await socket.ask()
    fine = await socket.ask()

    assert (garbled[0]["status"], garbled[0]["error"]["code"]) == (400, "malformed_json")
    assert (unknown[0]["status"], unknown[0]["error"]["code"]) == (404, "previous_response_not_found")
    assert failed[-1]["type"] == "response.failed"
    assert fine[-1]["type"] == "response.completed"


@pytest.mark.parametrize("store", [True, False])
async def test_what_fails_before_its_first_word_costs_no_connection(
    socket: Socket, model: ScriptedChatModel, store: bool
) -> None:
    model.play_next(UpstreamUnavailable())

    failed = await socket.ask(store=store)
    fine = await socket.ask(store=store)

    assert failed[-1]["type"] == "response.failed"
    assert fine[-1]["type"] == "response.completed"


async def test_nothing_stored_builds_upon_what_is_not(socket: Socket, model: ScriptedChatModel) -> None:
    unstored = (await socket.ask("a", store=False))[-1]["response"]["id"]

    refused = await socket.ask("b", previous_response_id=unstored)
    fine = await socket.ask("b", previous_response_id=unstored, store=False)

    assert (refused[0]["status"], refused[0]["error"]["code"]) == (404, "previous_response_not_found")
    assert "not stored" in refused[0]["error"]["message"]
    assert fine[-1]["type"] == "response.completed"
    assert len(model.requests) == 2


async def test_a_database_that_goes_away_in_between_costs_no_connection(
    backend: Backend, options: HttpOptions, alice: Client
) -> None:
    """The response is written to its end, and can be asked for again."""
    stored = backend.respond.stored
    journal = Faults(error=DatabaseUnavailable, only={"find"}, lasting=True).wrap(stored.follow.journal)
    follow = replace(stored.follow, journal=journal, runner=replace(stored.runner, _recent={}))  # as on another server
    failing = replace(backend, respond=replace(backend.respond, stored=replace(stored, follow=follow)))
    async with serving(create_app(failing, options)) as server:
        url = server.url.replace("http", "ws") + "/v1/responses"
        async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {alice.token}"}) as connection:
            broken = await Socket(connection).ask()
            fine = await Socket(connection).ask(store=False)

    assert (broken[-1]["type"], broken[-1]["code"]) == ("error", "database_unavailable")
    assert fine[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        ("", None, 401, "invalid_api_key"),
        ("", "sk-wrong", 401, "invalid_api_key"),
        ("/", "of a reader", 403, "scope_missing"),
    ],
)
async def test_who_is_not_let_in_hears_why(
    url: str, alice: Client, path: str, key: str | None, status: int, code: str
) -> None:
    if key == "of a reader":
        key = (await alice.post("/api/keys", {"name": "reader", "scopes": ["read-only"]})).json()["key"]
    headers = {"x-request-id": "mine", **({"Authorization": f"Bearer {key}"} if key else {})}

    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url + path, additional_headers=headers)

    reply = refused.value.response
    error = json.loads(reply.body)["error"]
    assert (reply.status_code, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"] == "mine"
    assert reply.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


async def test_where_no_socket_is_a_request_for_one_is_answered_like_any_other(url: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(f"{url}/x/y")

    reply = refused.value.response
    assert (reply.status_code, json.loads(reply.body)["error"]["code"]) == (404, "route_not_found")


async def test_a_key_that_dies_is_good_for_nothing_more(socket: Socket, alice: Client) -> None:
    await alice.post("/api/users/password", {"old_password": PASSWORD, "new_password": "another"})

    refused = await socket.ask()

    assert (refused[0]["status"], refused[0]["error"]["code"]) == (401, "invalid_api_key")


async def test_a_response_goes_on_without_the_connection(url: str, alice: Client, model: ScriptedChatModel) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    async with websockets.connect(url, additional_headers=headers) as connection:
        message = {"type": "response.create", "model": MODEL, "input": "Hi"}
        await connection.send(json.dumps(message))
        name = json.loads(await connection.recv())["response"]["id"]
    await model.idle()

    await alice.get(f"/v1/responses/{name}?stream=true")
    assert text_of((await alice.get(f"/v1/responses/{name}")).json()) == TEXT


# Compaction ----------------------------------------------------------------------------------------------------------


async def test_a_repeated_request_asks_for_one_summary(alice: Client, model: ScriptedChatModel) -> None:
    first = await respond(alice)
    model.play_next("They spoke", " of Rust.\n")
    model.play_next("Something else")
    body, headers = {"model": MODEL, "previous_response_id": first["id"]}, {"Idempotency-Key": "once"}
    keyed = await alice.with_key()

    replies = [await keyed.post("/v1/responses/compact", body, headers=headers) for _ in range(2)]
    other = await keyed.post("/v1/responses/compact", {**body, "input": "More"}, headers=headers)

    assert replies[0].status_code == 200, replies[0].text
    assert replies[0].json() == replies[1].json()
    assert (other.status_code, len(model.requests)) == (409, 2)
    of_key, _ = (await alice.get("/api/usage", params={"group_by": "key"})).json()["usage"]
    assert of_key["requests"] == 1


async def test_compaction_takes_the_place_of_what_was_said(alice: Client, model: ScriptedChatModel) -> None:
    first = await respond(alice, "My name is Alice")
    model.play_next("The user is Alice")
    reply = await alice.post("/v1/responses/compact", {"model": MODEL, "previous_response_id": first["id"]})
    asked = model.requests[-1].turns

    await respond(alice, [*reply.json()["output"], {"role": "user", "content": "Who am I?"}])

    compacted = reply.json()
    assert compacted["object"] == "response.compaction"
    assert compacted["usage"]["total_tokens"] == 2
    assert [item["type"] for item in compacted["output"]] == ["compaction"]
    assert [turn.text for turn in asked][:2] == ["My name is Alice", TEXT]
    system, question = model.requests[-1].turns
    assert system.text.endswith("The user is Alice")
    assert question.text == "Who am I?"


async def test_nothing_to_compact_is_refused(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next(" ")

    reply = await alice.post("/v1/responses/compact", {"model": MODEL, "input": "x"})

    assert reply.status_code == 502
    assert error_of(reply)["type"] == "server_error"


# What the log says ---------------------------------------------------------------------------------------------------


async def test_a_handshake_leaves_a_line_in_the_log(url: str, alice: Client) -> None:
    headers = {"Authorization": f"Bearer {alice.token}", "x-request-id": "open"}
    with capture_logs() as lines:
        async with websockets.connect(url, additional_headers=headers) as connection:
            await Socket(connection).ask()
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"{url}?secret=1", additional_headers={"x-request-id": "refused"})

    told = [[line[name] for name in ("method", "path", "status", "request_id")] for line in lines]
    assert told == [["GET", "/v1/responses", 101, "open"], ["GET", "/v1/responses", 401, "refused"]]
    assert all(line["ms"] >= 0 for line in lines)


@pytest.mark.parametrize("bug", [RuntimeError, TimeoutError, ConnectionResetError])
async def test_a_bug_behind_an_open_connection_is_logged_once(
    backend: Backend, options: HttpOptions, alice: Client, caplog: pytest.LogCaptureFixture, bug: type[Exception]
) -> None:
    def broken(*_: object) -> AsyncIterator[object]:
        raise bug("the secret detail")

    respond = replace(backend.respond, stored=replace(backend.respond.stored, follow=broken))  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {alice.token}", "x-request-id": "of-the-connection"}
    with app_over(replace(backend, respond=respond), options) as app:
        async with serving(app) as server:
            url = server.url.replace("http", "ws") + "/v1/responses"
            async with websockets.connect(url, additional_headers=headers) as connection:
                with pytest.raises(websockets.ConnectionClosedError) as closed:
                    await Socket(connection).ask()

    assert closed.value.rcvd
    assert (closed.value.rcvd.code, "secret" in closed.value.rcvd.reason) == (4500, False)
    (crash,) = [record for record in caplog.records if record.exc_info]
    assert "of-the-connection" in crash.getMessage()
    assert "the secret detail" in (crash.exc_text or str(crash.exc_info))


async def test_a_client_that_leaves_is_no_bug(
    backend: Backend,
    options: HttpOptions,
    alice: Client,
    model: ScriptedChatModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    go_on = asyncio.Event()
    model.play_next("Half", go_on, "the", "rest")
    with app_over(backend, options) as app:
        async with serving(app) as server:
            url = server.url.replace("http", "ws") + "/v1/responses"
            connection = await websockets.connect(url, additional_headers={"Authorization": f"Bearer {alice.token}"})
            await connection.send(json.dumps({"type": "response.create", "model": MODEL, "input": "Hi"}))
            while "delta" not in json.loads(await connection.recv()):
                pass
            connection.transport.abort()
            go_on.set()
            await model.idle()

    assert not [record for record in caplog.records if record.exc_info]
