"""Responses: whole and streamed, built upon, resumed, cancelled, deleted."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx import Response
from openai.types.responses import Response as PublishedResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from llm_backend.application.backend import Backend
from llm_backend.application.ports.chat_model import Completion
from llm_backend.application.ports.model_catalogue import ListedModel
from llm_backend.config import Settings
from llm_backend.config.models import Llm, Provider
from llm_backend.domain.answers import CallPiece
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import UpstreamCutOff, UpstreamRateLimited, UpstreamUnavailable
from llm_backend.domain.prompting import OUTLINE
from llm_backend.interface.http.options import HttpOptions
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel
from tests.http.backends import memory_backend
from tests.http.clients import Client
from tests.http.openai.test_frame import error_of
from tests.http.test_edge import over

MODEL = "gpt-4o"
NEVER_NULL = (
    "completed_at", "truncation", "text", "top_p", "temperature", "presence_penalty", "frequency_penalty",
    "top_logprobs", "store", "background", "service_tier", "usage", "parallel_tool_calls", "tools", "tool_choice",
    "metadata",
)  # fmt: skip
NULLABLE = (
    "incomplete_details", "previous_response_id", "instructions", "error", "reasoning", "max_output_tokens",
    "max_tool_calls", "safety_identifier", "prompt_cache_key",
)  # fmt: skip
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}

Event = dict[str, Any]

# The published types. They take more than is published, so what is missing or of another type is what shows.
PUBLISHED_EVENT: TypeAdapter[object] = TypeAdapter(ResponseStreamEvent)
PUBLISHED_RESPONSE: TypeAdapter[object] = TypeAdapter(PublishedResponse)


def events_of(reply: Response) -> list[Event]:
    """Each event with its number and its type said twice, the same."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in reply.text.split("\n\n") if block]
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {event['type']}" for event in events]
    for event in events:
        PUBLISHED_EVENT.validate_python(event)
    return events


def text_of(response: dict[str, Any]) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for message in messages for part in message["content"])


async def respond(client: Client, said: object = "What is Rust?", **fields: Any) -> dict[str, Any]:
    reply = await client.post("/v1/responses", {"model": MODEL, "input": said, **fields})
    assert reply.status_code == 200, reply.text
    response: dict[str, Any] = reply.json()
    PUBLISHED_RESPONSE.validate_python(response)
    return response


async def streamed(client: Client, said: object = "What is Rust?", **fields: Any) -> list[Event]:
    return events_of(await client.post("/v1/responses", {"model": MODEL, "input": said, "stream": True, **fields}))


async def rest_of(client: Client, response: str, after: int | None = None) -> list[Event]:
    query = "" if after is None else f"&starting_after={after}"
    return events_of(await client.get(f"/v1/responses/{response}?stream=true{query}"))


# Whole and streamed --------------------------------------------------------------------------------------------------


async def test_a_response_says_all_that_clients_look_for(alice: Client) -> None:
    response = await respond(alice)

    assert response["object"] == "response"
    assert response["status"] == "completed"
    assert text_of(response) == "Rust 是一种系统编程语言"
    assert all(response[name] is not None for name in NEVER_NULL)
    assert all(name in response for name in NULLABLE)
    assert response["usage"]["total_tokens"] == 2
    assert set(response["usage"]["input_tokens_details"]) == {"cached_tokens", "cache_write_tokens"}
    assert set(response["usage"]["output_tokens_details"]) == {"reasoning_tokens"}
    assert response["text"]["format"]["type"] == "text"
    assert (await alice.get(f"/v1/responses/{response['id']}")).json() == response


async def test_a_response_tells_what_was_cached_and_what_was_reasoning(alice: Client, model: ScriptedChatModel) -> None:
    usage = TokenUsage(prompt=7, completion=10, cached=5, reasoning=3)
    model.completion = Completion(finish_reason="stop", usage=usage)

    told = (await streamed(alice))[-1]["response"]
    read = (await alice.get(f"/v1/responses/{told['id']}")).json()
    recalled = (await rest_of(alice, told["id"]))[-1]["response"]

    for response in (told, read, recalled):
        assert response["usage"]["input_tokens_details"]["cached_tokens"] == 5
        assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 3


async def test_a_summary_tells_what_was_cached_however_often_it_is_asked_for(
    alice: Client, model: ScriptedChatModel
) -> None:
    usage = TokenUsage(prompt=7, completion=10, cached=5, reasoning=3)
    model.completion = Completion(finish_reason="stop", usage=usage)
    asked, once = {"model": MODEL, "input": "What is Rust?"}, {"Idempotency-Key": "once"}

    made, again = [await alice.post("/v1/responses/compact", asked, headers=once) for _ in range(2)]

    assert made.json() == again.json()
    assert made.json()["usage"]["input_tokens_details"]["cached_tokens"] == 5


@pytest.mark.parametrize("store", [True, False])
async def test_what_it_used_is_charged_to_the_key(alice: Client, store: bool) -> None:
    await respond(await alice.with_key(), store=store)

    (of_kind,) = (await alice.get("/api/usage", params={"group_by": "kind"})).json()["usage"]
    (of_key,) = (await alice.get("/api/usage", params={"group_by": "key"})).json()["usage"]

    assert (of_kind["group"], of_kind["requests"], of_kind["estimated_requests"]) == ("response", 1, 0)
    assert of_key["group"] == (await alice.get("/api/keys")).json()[0]["key_id"]


async def test_the_events_of_a_stream_are_numbered_without_gaps(alice: Client) -> None:
    events = await streamed(alice)

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", *["output_text.delta"] * 3,
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert "".join(event["delta"] for event in events if "delta" in event) == "Rust 是一种系统编程语言"
    assert {event["item_id"] for event in events if "item_id" in event} == {events[2]["item"]["id"]}


async def test_the_last_event_is_the_response_as_it_is_stored(alice: Client) -> None:
    events = await streamed(alice, instructions="Be brief", temperature=0.5, metadata={"a": "b"})

    last = events[-1]["response"]
    assert (await alice.get(f"/v1/responses/{last['id']}")).json() == last
    assert (last["temperature"], last["metadata"], last["instructions"]) == (0.5, {"a": "b"}, "Be brief")


async def test_what_the_client_sets_reaches_the_model(alice: Client, model: ScriptedChatModel) -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}

    response = await respond(
        alice,
        instructions="Be brief",
        temperature=0.1,
        top_p=0.9,
        max_output_tokens=20,
        text={"format": schema},
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
    )

    request = model.requests[-1]
    assert [(turn.role, turn.text) for turn in request.turns] == [("system", "Be brief"), ("user", "What is Rust?")]
    assert request.options == {
        "temperature": 0.1,
        "top_p": 0.9,
        "max_tokens": 20,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER["parameters"]}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
    }
    assert response["tools"] == [{**WEATHER, "description": None, "strict": None}]
    assert response["text"]["format"] == {**schema, "description": None}


async def test_a_text_that_was_cut_by_the_limit_is_incomplete(alice: Client, model: ScriptedChatModel) -> None:
    model.completion = Completion(finish_reason="length")

    response = await respond(alice, max_output_tokens=1)
    events = await streamed(alice, max_output_tokens=1)

    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert events[-1]["type"] == "response.incomplete"
    assert (await alice.get(f"/v1/responses/{events[-1]['response']['id']}")).json() == events[-1]["response"]


# Building upon -------------------------------------------------------------------------------------------------------


async def test_responses_build_upon_each_other_in_branches(alice: Client, model: ScriptedChatModel) -> None:
    first = await respond(alice, "One", instructions="Not for the next")
    second = await respond(alice, "Two", previous_response_id=first["id"])
    await respond(alice, "Three", previous_response_id=second["id"])
    branch = await respond(alice, "Other", previous_response_id=first["id"])

    said = [[turn.text for turn in request.turns if turn.role == "user"] for request in model.requests]
    assert said == [["One"], ["One", "Two"], ["One", "Two", "Three"], ["One", "Other"]]
    assert all(turn.role != "system" for turn in model.requests[-1].turns)
    assert branch["previous_response_id"] == first["id"]


async def test_what_builds_upon_a_deleted_response_says_so(alice: Client) -> None:
    first = await respond(alice, "One")
    second = await respond(alice, "Two", previous_response_id=first["id"])
    assert (await alice.request("DELETE", f"/v1/responses/{first['id']}")).json() == {
        "id": first["id"],
        "object": "response",
        "deleted": True,
    }

    for previous in (first["id"], second["id"], "resp_1", "x"):
        reply = await alice.post("/v1/responses", {"model": MODEL, "input": "3", "previous_response_id": previous})
        assert reply.status_code == 404
        assert error_of(reply)["code"] == "previous_response_not_found"
    assert (await alice.get(f"/v1/responses/{first['id']}")).status_code == 404
    assert (await alice.get(f"/v1/responses/{second['id']}")).status_code == 200


async def test_what_is_not_stored_is_gone_with_the_reply(alice: Client) -> None:
    whole = await respond(alice, store=False)
    events = await streamed(alice, store=False)

    assert text_of(whole) == text_of(events[-1]["response"]) == "Rust 是一种系统编程语言"
    assert whole["store"] is False
    for name in (whole["id"], events[0]["response"]["id"]):
        assert (await alice.get(f"/v1/responses/{name}")).status_code == 404
        reply = await alice.post("/v1/responses", {"model": MODEL, "input": "x", "previous_response_id": name})
        assert reply.status_code == 404


async def test_nothing_of_it_shows_among_the_conversations_of_the_other_door(alice: Client) -> None:
    await respond(alice)

    assert (await alice.get("/api/conversations/list")).json() == []


async def test_input_items_are_listed(alice: Client) -> None:
    items = [
        {"role": "developer", "content": "Be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_image", "image_url": "data:image/png;base64,A"}],
        },
    ]
    response = await respond(alice, items)

    newest = (await alice.get(f"/v1/responses/{response['id']}/input_items?limit=2")).json()
    oldest = (await alice.get(f"/v1/responses/{response['id']}/input_items?order=asc")).json()
    rest = (await alice.get(f"/v1/responses/{response['id']}/input_items", params={"after": newest["last_id"]})).json()

    assert [item["role"] for item in oldest["data"]] == ["developer", "user", "user"]
    assert (newest["has_more"], rest["has_more"]) == (True, False)
    assert newest["data"] + rest["data"] == oldest["data"][::-1]
    assert oldest["data"][2]["content"][0]["type"] == "input_image"
    assert newest["first_id"] == newest["data"][0]["id"]


async def test_pictures_reach_the_model(alice: Client, model: ScriptedChatModel) -> None:
    content = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": "https://x/y.png"}]

    await respond(alice, [{"role": "user", "content": content}])

    assert [type(part).__name__ for part in model.requests[-1].turns[0].parts] == ["TextPart", "ImagePart"]


# Calls of functions --------------------------------------------------------------------------------------------------


async def test_a_function_is_called_and_its_result_goes_back(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next("Let me see", CallPiece("", 0, '{"city":', "call_1", "weather"), CallPiece("", 0, '"Köln"}'))
    events = await streamed(alice, "Weather?", tools=[WEATHER])
    asked = events[-1]["response"]
    call = asked["output"][1]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "Sunny"}

    answer = await respond(alice, [result], previous_response_id=asked["id"], tools=[WEATHER])

    assert [item["type"] for item in asked["output"]] == ["message", "function_call"]
    assert (call["name"], call["arguments"], call["status"]) == ("weather", '{"city":"Köln"}', "completed")
    assert [event["type"] for event in events if "function_call" in event["type"]] == [
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (await alice.get(f"/v1/responses/{asked['id']}")).json() == asked
    turns = model.requests[-1].turns
    assert [(turn.role, turn.text, turn.result_of) for turn in turns] == [
        ("user", "Weather?", None),
        ("assistant", "Let me see", None),
        ("user", "Sunny", "call_1"),
    ]
    assert turns[1].calls[0].arguments == '{"city":"Köln"}'
    assert text_of(answer) == "Rust 是一种系统编程语言"


async def test_a_call_without_a_result_is_not_told_to_the_model(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next(CallPiece("", 0, "{}", "call_1", "weather"))
    asked = await respond(alice, "Weather?", tools=[WEATHER])

    await respond(alice, "Never mind", previous_response_id=asked["id"])

    assert [turn.text for turn in model.requests[-1].turns] == ["Weather?", "Never mind"]
    assert [item["type"] for item in asked["output"]] == ["function_call"]


# Failing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_before_the_first_word_is_a_status(
    alice: Client, model: ScriptedChatModel, stream: bool
) -> None:
    model.play_next(UpstreamUnavailable())

    reply = await alice.post("/v1/responses", {"model": MODEL, "input": "Hi", "stream": stream})

    assert reply.status_code == 503
    assert error_of(reply)["code"] == "upstream_unavailable"


async def test_what_breaks_off_has_failed_and_keeps_its_text(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next("Half", UpstreamCutOff())
    whole = await respond(alice)
    model.play_next("Half", UpstreamRateLimited())
    events = await streamed(alice)

    assert (whole["status"], text_of(whole), whole["error"]["code"]) == ("failed", "Half", "server_error")
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "rate_limit_exceeded"
    assert events[-1]["response"]["completed_at"] is None
    assert [event["type"].removeprefix("response.") for event in events[-4:]] == [
        "output_text.done", "content_part.done", "output_item.done", "failed",
    ]  # fmt: skip
    assert events[-2]["item"] == events[-1]["response"]["output"][0]
    stored = (await alice.get(f"/v1/responses/{events[-1]['response']['id']}")).json()
    assert stored == events[-1]["response"]


@pytest.mark.parametrize(
    "fields",
    [
        {"input": None},
        {"input": []},
        {"input": 5},
        {"input": [{"type": "message", "role": "nobody", "content": "x"}]},
        {"input": [{"type": "unheard_of"}]},
        {"input": [{"role": "user", "content": [{"type": "input_audio", "data": "AA=="}]}]},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function"}]},
        {"tool_choice": {"type": "unheard_of"}, "tools": [WEATHER]},
        {"temperature": 3},
        {"store": False, "background": True},
        {"text": {"format": {"type": "json_schema"}}},
        {"conversation": "conv_1", "previous_response_id": "resp_1"},
        {"model": ""},
        {"input": "\u0000"},
        {"input": [{"type": "compaction", "encrypted_content": "§"}]},
    ],
)
async def test_what_makes_no_sense_is_refused(alice: Client, fields: dict[str, Any]) -> None:
    reply = await alice.post("/v1/responses", {"model": MODEL, "input": "Hi", **fields})

    assert reply.status_code == 400
    assert error_of(reply)["type"] == "invalid_request_error"


async def test_the_same_key_gives_the_same_response(alice: Client) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"model": MODEL, "input": "Hi"}

    first, again = [await alice.post("/v1/responses", body, headers=headers) for _ in range(2)]
    other = await alice.post("/v1/responses", {**body, "input": "Ho"}, headers=headers)

    assert first.json() == again.json()
    assert other.status_code == 409


# In the background ---------------------------------------------------------------------------------------------------


async def finished(client: Client, response: str) -> dict[str, Any]:
    """By the stream, which ends when it does."""
    await rest_of(client, response)
    found: dict[str, Any] = (await client.get(f"/v1/responses/{response}")).json()
    return found


async def test_one_in_the_background_is_queued_and_found_when_it_has_ended(alice: Client) -> None:
    queued = await respond(alice, background=True)

    done = await finished(alice, queued["id"])

    assert (queued["status"], queued["background"], queued["output"]) == ("queued", True, [])
    assert (done["status"], text_of(done)) == ("completed", "Rust 是一种系统编程语言")


async def test_its_stream_says_that_it_was_queued(alice: Client) -> None:
    events = await streamed(alice, background=True)

    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert events[0]["response"]["status"] == "queued"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_one_that_fails_in_the_background_is_found_failed(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next(UpstreamUnavailable())
    queued = await respond(alice, background=True)

    failed = await finished(alice, queued["id"])

    assert (failed["status"], failed["output"], failed["error"]["code"]) == ("failed", [], "server_error")


async def test_one_that_runs_can_be_cancelled(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next("Half", FOREVER)
    queued = await respond(alice, background=True)
    await model.asked()
    reading = asyncio.create_task(rest_of(alice, queued["id"]))

    cancelled = await alice.post(f"/v1/responses/{queued['id']}/cancel")
    events = await reading
    again = await alice.post(f"/v1/responses/{queued['id']}/cancel")

    assert cancelled.json()["status"] == "cancelled"
    assert again.json() == cancelled.json() == events[-1]["response"]
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "queued", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "incomplete",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-2]["item"]["status"] == "incomplete"
    assert await rest_of(alice, queued["id"]) == events


async def test_a_call_that_was_broken_off_ends_incomplete(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next("Wait", CallPiece("", 0, '{"ci', "c1", "weather"), UpstreamCutOff())

    events = await streamed(alice, tools=[WEATHER])

    assert [event["type"].removeprefix("response.") for event in events[-3:]] == [
        "function_call_arguments.delta", "output_item.done", "failed",
    ]  # fmt: skip
    assert (events[-2]["item"]["status"], events[-2]["item"]["arguments"]) == ("incomplete", '{"ci')


async def test_one_that_runs_can_be_deleted(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next("Half", FOREVER)
    queued = await respond(alice, background=True)
    await model.asked()

    assert (await alice.request("DELETE", f"/v1/responses/{queued['id']}")).status_code == 200

    await model.idle()
    assert (await alice.get(f"/v1/responses/{queued['id']}")).status_code == 404


# Resuming ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
async def test_a_stored_response_is_resumed_after_every_event(alice: Client, background: bool) -> None:
    events = await streamed(alice, background=background)
    name = events[0]["response"]["id"]

    assert await rest_of(alice, name) == events
    for after in range(-1, len(events) + 1):
        assert await rest_of(alice, name, after) == events[after + 1 :]


async def test_a_running_response_is_resumed_after_every_event(alice: Client, model: ScriptedChatModel) -> None:
    go_on = asyncio.Event()
    model.play_next("a", ["b", "c"], go_on, "d", CallPiece("", 0, "{}", "c1", "f"), "e")
    queued = await respond(alice, background=True, tools=[WEATHER])
    await model.asked()
    reading = [asyncio.create_task(rest_of(alice, queued["id"], after)) for after in range(-1, 25)]
    await asyncio.sleep(0)

    go_on.set()
    whole, *rests = await asyncio.gather(*reading)

    assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
    assert rests == [whole[after + 1 :] for after in range(len(rests))]
    assert await rest_of(alice, queued["id"]) == whole


async def test_what_nobody_remembers_piece_by_piece_is_streamed_whole(
    alice: Client, model: ScriptedChatModel, backend: Backend
) -> None:
    model.play_next("a", "b", CallPiece("", 0, "{}", "c1", "weather"))
    before = await streamed(alice, tools=[WEATHER])
    name = before[-1]["response"]["id"]
    forgetting = replace(backend.keep_house, events_kept_for=timedelta(seconds=-60))
    await forgetting()

    after = await rest_of(alice, name)
    refused = await alice.get(f"/v1/responses/{name}?stream=true&starting_after=3")

    assert [event["delta"] for event in after if event["type"].endswith("delta")] == ["ab", "{}"]
    assert after[-1]["response"] == before[-1]["response"]
    assert [event["sequence_number"] for event in after] == list(range(len(after)))
    assert (refused.status_code, error_of(refused)["code"]) == (404, "events_forgotten")


# Documents -----------------------------------------------------------------------------------------------------------


async def a_vector_store(client: Client) -> tuple[str, str]:
    kb = await client.new_knowledge_base()
    document = await client.new_document(kb)
    return f"vs_{kb.replace('-', '')}", f"file-{document.replace('-', '')}"


async def test_documents_are_searched_and_cited(alice: Client, model: ScriptedChatModel) -> None:
    store, file = await a_vector_store(alice)
    tools = [{"type": "file_search", "vector_store_ids": [store]}]
    model.play_next("不可抗力", "是客观情况 ", "[", "1]。", "其他 [7]")

    events = await streamed(alice, "什么是不可抗力条款？", tools=tools, include=["file_search_call.results"])

    assert [event["type"].removeprefix("response.") for event in events[2:7]] == [
        "output_item.added", "file_search_call.in_progress", "file_search_call.searching",
        "file_search_call.completed", "output_item.done",
    ]  # fmt: skip
    search, message = events[-1]["response"]["output"]
    assert search["id"].startswith("fs_")
    assert search["queries"] == ["什么是不可抗力条款？"]
    assert search["results"][0]["file_id"] == file
    part = message["content"][0]
    assert part["text"] == "不可抗力是客观情况。其他 [7]"
    (annotation,) = part["annotations"]
    assert (annotation["type"], annotation["file_id"]) == ("file_citation", file)
    assert part["text"][annotation["start_index"] : annotation["end_index"]] == "不可抗力是客观情况"
    assert annotation["source"]["verified"] is True
    told = [event["annotation"] for event in events if event["type"].endswith("annotation.added")]
    assert told == part["annotations"]
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == part["text"]
    name = events[-1]["response"]["id"]
    stored = await alice.get(f"/v1/responses/{name}?include[]=file_search_call.results")
    assert stored.json() == events[-1]["response"]
    for after in range(len(events)):
        resumed = await alice.get(
            f"/v1/responses/{name}?stream=true&starting_after={after}&include=file_search_call.results"
        )
        if after < len(events) - 1:
            assert events_of(resumed) == events[after + 1 :]


async def known_file(client: Client, store: str, annotation: dict[str, Any]) -> str:
    """What the citation is of, as its file, and the file of the vector store, are called."""
    name: str = annotation["file_id"]
    found = (await client.get(f"/v1/files/{name}")).json()
    listed = (await client.get(f"/v1/vector_stores/{store}/files")).json()["data"]
    assert found["filename"] == annotation["filename"]
    assert [name, name] == [found["id"], *(one["id"] for one in listed)]
    return name


async def test_what_is_cited_is_a_file_wherever_it_was_uploaded(alice: Client, model: ScriptedChatModel) -> None:
    uploaded, document = await a_vector_store(alice)
    attached = await alice.new_vector_store()
    file = await alice.new_file("条款.txt", "不可抗力是不能预见的客观情况。".encode())
    await alice.new_file_batch(attached, [file])

    for store, wanted in ((uploaded, document), (attached, file)):
        tools = [{"type": "file_search", "vector_store_ids": [store]}]
        model.play_next("不可抗力是客观情况[1]。")
        response = await respond(alice, "什么是不可抗力条款？", tools=tools)
        (annotation,) = response["output"][-1]["content"][0]["annotations"]

        assert await known_file(alice, store, annotation) == wanted


async def test_what_a_chat_of_the_other_side_cites_is_a_file_as_well(alice: Client, model: ScriptedChatModel) -> None:
    store = await alice.new_vector_store()
    file = await alice.new_file("条款.txt", "不可抗力是不能预见的客观情况。".encode())
    await alice.new_file_batch(store, [file])
    talk = await alice.new_conversation()
    model.play_next("不可抗力是客观情况[1]。")
    base = str(UUID(store.removeprefix("vs_")))
    asked = {"kb_id": base, "conversation_id": talk, "message": "什么是不可抗力条款？"}
    await alice.post("/api/rag/chat", asked)

    *_, answer = (await alice.get(f"/v1/conversations/conv_{talk}/items?order=asc")).json()["data"]
    (annotation,) = answer["content"][0]["annotations"]

    assert await known_file(alice, store, annotation) == file


async def a_shelf_of_two(client: Client) -> tuple[str, str, str]:
    """A vector store, and its files of 2023 and of 2024."""
    store = await client.new_vector_store()
    old = await client.new_file("old.txt", b"The buyer pays within ten days.")
    new = await client.new_file("new.txt", b"The buyer pays within thirty days.")
    await client.new_file_batch(store, [old, new])
    for file, year in ((old, 2023), (new, 2024)):
        await client.post(f"/v1/vector_stores/{store}/files/{file}", {"attributes": {"year": year}})
    return store, old, new


async def searched(client: Client, store: str, said: str = "When does the buyer pay?", **tool: Any) -> dict[str, Any]:
    """The call of the search, with its results."""
    tools = [{"type": "file_search", "vector_store_ids": [store], **tool}]
    response = await respond(client, said, tools=tools, include=["file_search_call.results"])
    assert response["tools"] == tools
    call: dict[str, Any] = response["output"][0]
    return call


async def test_what_was_found_is_told_with_scores_and_attributes(alice: Client) -> None:
    store, old, new = await a_shelf_of_two(alice)

    found = (await searched(alice, store))["results"]

    assert {(one["file_id"], one["filename"], one["attributes"]["year"]) for one in found} == {
        (old, "old.txt", 2023),
        (new, "new.txt", 2024),
    }
    assert all(0 < one["score"] <= 1 for one in found)
    assert {one["text"] for one in found} == {"The buyer pays within ten days.", "The buyer pays within thirty days."}


async def test_a_search_goes_by_filters_and_limits(alice: Client) -> None:
    store, _, new = await a_shelf_of_two(alice)
    since = {"type": "gte", "key": "year", "value": 2024}

    filtered = await searched(alice, store, filters=since)
    fewer = await searched(alice, store, max_num_results=1)
    none = await searched(alice, store, ranking_options={"ranker": "auto", "score_threshold": 1.0})
    nobodys = await searched(alice, store, filters={"type": "eq", "key": "year", "value": 1999})
    odd = [{"type": "file_search", "vector_store_ids": [store], "filters": {"type": "eq", "key": "year"}}]
    refused = await alice.post("/v1/responses", {"model": MODEL, "input": "Hi", "tools": odd})

    assert [one["file_id"] for one in filtered["results"]] == [new]
    assert len(fewer["results"]) == 1
    assert (none["results"], nobodys["results"]) == ([], [])
    assert (refused.status_code, error_of(refused)["code"]) == (400, "invalid_filter")


async def test_a_follow_up_is_searched_for_by_what_it_means_as_well(alice: Client, model: ScriptedChatModel) -> None:
    store, *_ = await a_shelf_of_two(alice)
    tools = [{"type": "file_search", "vector_store_ids": [store]}]
    first = await respond(alice, "When does the buyer pay?", tools=tools)
    model.play_next("buyer pays days")

    second = await respond(alice, "And if not?", tools=tools, previous_response_id=first["id"])

    assert first["output"][0]["queries"] == ["When does the buyer pay?"]
    assert second["output"][0]["queries"] == ["And if not?", "buyer pays days"]
    assert "thirty days" in model.requests[-1].turns[0].text


async def test_whole_documents_are_told_by_their_outline(alice: Client, model: ScriptedChatModel) -> None:
    store, *_ = await a_shelf_of_two(alice)

    await searched(alice, store, "What are these documents about?")

    assert OUTLINE in model.requests[-1].turns[0].text


async def test_a_vector_store_of_somebody_else_is_not_searched(alice: Client, bob: Client) -> None:
    theirs, _ = await a_vector_store(alice)

    for name in (theirs, "vs_none"):
        tools = [{"type": "file_search", "vector_store_ids": [name]}]
        reply = await bob.post("/v1/responses", {"model": MODEL, "input": "不可抗力条款", "tools": tools})
        assert reply.status_code == 404


# Counting ------------------------------------------------------------------------------------------------------------


async def test_input_is_counted_without_asking_anybody(alice: Client, model: ScriptedChatModel) -> None:
    short = await alice.post("/v1/responses/input_tokens", {"model": MODEL, "input": "Hi"})
    long = await alice.post("/v1/responses/input_tokens", {"model": MODEL, "input": "Hi " * 100})

    assert short.json()["object"] == "response.input_tokens"
    assert 0 < short.json()["input_tokens"] < long.json()["input_tokens"]
    assert model.requests == []


async def test_where_only_patterns_are_configured_a_count_needs_no_model_and_knowledge_bases_have_none(
    tmp_path: Path, options: HttpOptions
) -> None:
    class Listing:
        async def models(self) -> list[ListedModel]:
            return [ListedModel(id="gpt-4o", owned_by="somebody")]

    provider = Provider(name="somebody", base_url="http://127.0.0.1:9/v1", models=("gpt-*",), needs_key=False)
    settings = Settings(llm=Llm(providers=(provider,)))
    async with memory_backend(tmp_path, settings, catalogue=Listing()) as backend, over(backend, options) as http:
        alice = await Client(http).new_user()
        kb = await alice.new_knowledge_base()
        asked = {"messages": [{"role": "user", "content": "What?"}], "model": f"kb:{kb}"}

        counted = await alice.post("/v1/responses/input_tokens", {"input": "Hi"})
        refused = [
            await alice.post("/v1/responses", {"model": f"kb:{kb}", "input": "What?"}),
            await alice.post("/v1/chat/completions", asked),
        ]

    assert counted.json()["input_tokens"] > 0
    for reply in refused:
        assert reply.status_code == 404
        assert "rag.answering_model" in error_of(reply)["message"]


async def test_a_knowledge_base_can_be_asked_as_a_model(alice: Client, bob: Client, model: ScriptedChatModel) -> None:
    kb = await alice.new_knowledge_base()
    await alice.new_document(kb)
    body = {"model": f"kb:{kb}", "input": "什么是不可抗力条款？"}

    response = (await alice.post("/v1/responses", body)).json()

    assert response["model"] == f"kb:{kb}"
    assert [item["type"] for item in response["output"]] == ["file_search_call", "message"]
    assert "不可抗力条款是指" in model.requests[-1].turns[0].text
    assert (await bob.post("/v1/responses", body)).status_code == 404


async def test_a_repeated_request_for_what_is_not_stored_is_answered_again(alice: Client) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"model": MODEL, "input": "What is Rust?", "store": False}

    replies = [await alice.post("/v1/responses", body, headers=headers) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [200, 200], replies[-1].text
    assert [text_of(reply.json()) for reply in replies] == ["Rust 是一种系统编程语言"] * 2


async def test_what_was_said_can_be_referred_to(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next("Let me see", CallPiece("", 0, "{}", "c1", "weather"))
    message, call = (await respond(alice, "How is it?", tools=[WEATHER]))["output"]
    conversation = (await alice.post("/v1/conversations", {"items": [{"role": "user", "content": "Before"}]})).json()
    (item,) = (await alice.get(f"/v1/conversations/{conversation['id']}/items")).json()["data"]

    await respond(
        alice,
        [
            {"id": item["id"]},
            {"type": "item_reference", "id": message["id"]},
            {"type": "item_reference", "id": call["id"]},
            {"type": "item_reference", "id": "fs_1"},
            {"type": "function_call_output", "call_id": "c1", "output": "Sunny"},
        ],
        tools=[WEATHER],
    )

    turns = model.requests[-1].turns
    assert [turn.text for turn in turns] == ["Before", "Let me see", "Sunny"]
    assert [one.call_id for one in turns[1].calls] == ["c1"]


async def test_what_nobody_said_or_somebody_else_cannot_be_referred_to(alice: Client) -> None:
    (message,) = (await respond(alice))["output"]
    other = await alice.new_user()
    unknown = [message["id"].replace("msg_", "fc_"), message["id"] + "1", "msg_1_1_0", "rs_1", ""]

    replies = [
        await client.post("/v1/responses", {"model": MODEL, "input": [{"type": "item_reference", "id": name}]})
        for client, name in [*((alice, name) for name in unknown), (other, message["id"])]
    ]
    added = await alice.post("/v1/conversations", {"items": [{"id": message["id"]}]})
    refused = await alice.post("/v1/conversations", {"items": [{"id": "msg_1_1_0"}]})

    assert [(reply.status_code, error_of(reply)["code"]) for reply in replies] == [(404, "item_not_found")] * 6
    assert (added.status_code, refused.status_code) == (200, 404)


async def test_a_repeated_request_in_the_background_is_told_what_has_come_of_it(alice: Client) -> None:
    body, headers = {"model": MODEL, "input": "Hello", "background": True}, {"Idempotency-Key": "once"}
    first = (await alice.post("/v1/responses", body, headers=headers)).json()
    await rest_of(alice, first["id"])

    again = (await alice.post("/v1/responses", body, headers=headers)).json()

    assert (first["status"], again["status"], again["id"]) == ("queued", "completed", first["id"])


async def test_a_repeated_request_in_the_background_is_told_that_it_is_in_progress(
    alice: Client, model: ScriptedChatModel
) -> None:
    model.play_next("Half", FOREVER)
    body, headers = {"model": MODEL, "input": "Hello", "background": True}, {"Idempotency-Key": "once"}
    first = (await alice.post("/v1/responses", body, headers=headers)).json()
    await model.asked()

    again = (await alice.post("/v1/responses", body, headers=headers)).json()
    read = (await alice.get(f"/v1/responses/{first['id']}")).json()
    await alice.post(f"/v1/responses/{first['id']}/cancel")

    assert (first["status"], again["status"], again["id"]) == ("queued", "in_progress", first["id"])
    assert again == read


async def test_a_deleted_response_makes_way_in_its_conversation(alice: Client, model: ScriptedChatModel) -> None:
    conversation = (await alice.post("/v1/conversations", {})).json()["id"]
    model.play_next("Half", FOREVER)
    running = await respond(alice, "One", conversation=conversation, background=True)
    await model.asked()

    gone = await alice.request("DELETE", f"/v1/responses/{running['id']}")

    assert gone.status_code == 200
    assert (await alice.get(f"/v1/responses/{running['id']}")).status_code == 404
    assert text_of(await respond(alice, "Two", conversation=conversation))


async def test_tokens_are_counted_without_a_model_and_of_what_is_there_already(alice: Client) -> None:
    response = await respond(alice, "What is Rust?")
    path, past = "/v1/responses/input_tokens", {"previous_response_id": response["id"]}

    alone = (await alice.post(path, {"input": "Hello"})).json()["input_tokens"]
    before = (await alice.post(path, past)).json()["input_tokens"]
    together = (await alice.post(path, {**past, "input": "Hello", "model": MODEL})).json()["input_tokens"]
    nothing = await alice.post(path, {"model": MODEL})

    assert 0 < alone < before < together == alone + before
    assert nothing.status_code == 400
