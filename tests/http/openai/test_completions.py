"""Chat completions and embeddings over whatever model there is, and what they cost."""

import asyncio
import json
from array import array
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response
from msgspec import Raw
from msgspec.json import encode

from llm_backend.application.ports.chat_model import Completion
from llm_backend.config import Settings
from llm_backend.config.sections import Limits
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import UpstreamCutOff, UpstreamRejectedKey, UpstreamTimeout, UpstreamUnavailable
from llm_backend.domain.prompting import OUTLINE
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders
from llm_backend.interface.http.app import create_app
from llm_backend.interface.http.openai.completions import talk_in
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.backends import NamedEmbedder, memory_backend
from tests.http.clients import Client
from tests.http.openai.test_frame import error_of

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def events_of(reply: Response) -> list[dict[str, Any]]:
    """The chunks of a stream that says it was whole."""
    assert reply.status_code == 200, reply.text
    *chunks, done = [event.removeprefix("data: ") for event in reply.text.removesuffix("\n\n").split("\n\n")]
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


async def test_an_answer_comes_whole(alice: Client) -> None:
    reply = (await alice.post("/v1/chat/completions", HELLO)).json()

    (choice,) = reply["choices"]
    assert (reply["object"], reply["model"]) == ("chat.completion", "gpt-4o")
    assert choice["message"]["content"] == "Rust 是一种系统编程语言"
    assert choice["finish_reason"] == "stop"
    counts = [reply["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    assert counts == [1, 1, 2]


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_tells_what_was_cached_and_what_was_reasoning(
    alice: Client, model: ScriptedChatModel, streams: bool
) -> None:
    usage = TokenUsage(prompt=7, completion=10, cached=5, reasoning=3)
    model.completion = Completion(finish_reason="stop", usage=usage)
    options = {"stream": True, "stream_options": {"include_usage": True}} if streams else {}

    reply = await alice.post("/v1/chat/completions", {**HELLO, **options})
    told = (events_of(reply)[-1] if streams else reply.json())["usage"]

    assert told["prompt_tokens_details"] == {"cached_tokens": 5}
    assert told["completion_tokens_details"] == {"reasoning_tokens": 3}


@pytest.mark.parametrize("content", ["a\0b", [{"type": "text", "text": "a\0b"}]])
async def test_what_is_passed_on_may_hold_any_character(alice: Client, content: object) -> None:
    reply = await alice.post("/v1/chat/completions", {**HELLO, "messages": [{"role": "user", "content": content}]})

    assert reply.status_code == 200


async def test_an_answer_comes_as_it_is_written(alice: Client) -> None:
    chunks = events_of(await alice.post("/v1/chat/completions", {**HELLO, "stream": True}))

    assert text_of(chunks) == "Rust 是一种系统编程语言"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["choices"] and chunk["usage"] is None for chunk in chunks)


async def test_a_stream_tells_what_it_cost_if_asked(alice: Client) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}

    *others, last = events_of(await alice.post("/v1/chat/completions", {**HELLO, **options}))

    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 2
    assert all(chunk["usage"] is None for chunk in others)


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (UpstreamRejectedKey(), 502, "upstream_rejected_key"),
        (UpstreamUnavailable(), 503, "upstream_unavailable"),
        (UpstreamTimeout(), 504, "upstream_timeout"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_fails_at_once_is_a_status(
    alice: Client, model: ScriptedChatModel, failure: Exception, status: int, code: str, stream: bool
) -> None:
    model.play_next(failure)

    reply = await alice.post("/v1/chat/completions", {**HELLO, "stream": stream})

    assert reply.status_code == status
    assert error_of(reply)["code"] == code


async def test_what_fails_later_is_an_event_with_an_error(alice: Client, model: ScriptedChatModel) -> None:
    model.play_next("Well", UpstreamCutOff())

    reply = await alice.post("/v1/chat/completions", {**HELLO, "stream": True})

    *_, last = reply.text.removesuffix("\n\n").split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_cut_off"
    assert "[DONE]" not in reply.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": HELLO["messages"]}, "model"),
        ({**HELLO, "model": 5}, "model"),
        ({**HELLO, "model": ""}, "model"),
        ({"model": "gpt-4o"}, "messages"),
        ({**HELLO, "messages": []}, "messages"),
        ({**HELLO, "messages": "Hello"}, "messages"),
        ({**HELLO, "stream": "yes"}, "stream"),
        ({**HELLO, "stream_options": 1}, "stream_options"),
    ],
)
async def test_a_request_that_makes_no_sense_says_where(alice: Client, body: dict[str, Any], param: str) -> None:
    reply = await alice.post("/v1/chat/completions", body)

    assert reply.status_code == 400
    assert error_of(reply)["param"] == param


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_none_is_refused(alice: Client, content: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        reply = await alice.post(path, content=content)

        assert reply.status_code == 400
        assert error_of(reply)["type"] == "invalid_request_error"


async def test_a_body_that_is_nested_as_deep_as_can_be_read_is_no_fault_of_the_server(alice: Client) -> None:
    """The limit is that of the stack, on which whoever reads it a second time may have less room."""
    start = json.dumps(HELLO).encode().removesuffix(b"}")

    replies = [
        await alice.post("/v1/chat/completions", content=start + b',"x":' + b"[" * depth + b"]" * depth + b"}")
        for depth in range(700, 1000, 3)
    ]

    assert {reply.status_code for reply in replies} == {200, 400}


async def test_a_prompt_may_be_large_but_not_endless(alice: Client) -> None:
    large, endless = ({**HELLO, "more": "x" * (size << 20)} for size in (4, 17))

    assert (await alice.post("/v1/chat/completions", large)).status_code == 200
    refused = await alice.post("/v1/chat/completions", endless)
    assert refused.status_code == 413
    assert error_of(refused)["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (None, {"models", "chat", "embeddings"}),
        (["chat"], {"models", "chat"}),
        (["embeddings", "files"], {"models", "embeddings"}),
        (["read-only"], {"models"}),
        (["chat", "read-only"], {"models"}),
    ],
)
async def test_a_key_is_good_for_its_scopes_alone(alice: Client, scopes: list[str] | None, allowed: set[str]) -> None:
    key = await alice.with_key(scopes=scopes)

    replies = {
        "models": await key.get("/v1/models"),
        "chat": await key.post("/v1/chat/completions", HELLO),
        "embeddings": await key.post("/v1/embeddings", {"model": "zhipu-embedding-3", "input": "a"}),
    }

    assert {name for name, reply in replies.items() if reply.status_code == 200} == allowed
    assert {error_of(reply)["code"] for reply in replies.values() if reply.status_code != 200} <= {"scope_missing"}


# Knowledge bases -----------------------------------------------------------------------------------------------------


async def test_a_knowledge_base_is_a_model_that_answers_from_it(alice: Client, model: ScriptedChatModel) -> None:
    kb = await alice.new_knowledge_base()
    await alice.new_document(kb)
    messages = [{"role": "user", "content": [{"type": "text", "text": "不可抗力条款"}]}]

    reply = await alice.post("/v1/chat/completions", {"model": f"kb:{kb}", "messages": messages})

    assert reply.status_code == 200
    asked = model.requests[-1]
    assert asked.model == "demo"
    assert [turn.role for turn in asked.turns] == ["system", "user"]
    assert "不可避免" in asked.turns[0].text
    assert asked.turns[1].text == "不可抗力条款"


async def test_it_outlines_whole_documents_for_those_who_ask_about_them(
    alice: Client, model: ScriptedChatModel
) -> None:
    kb = await alice.new_knowledge_base()
    await alice.new_document(kb)
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "What is this document about?"},
    ]

    reply = await alice.post("/v1/chat/completions", {"model": f"kb:{kb}", "messages": messages})

    assert reply.status_code == 200, reply.text
    assert OUTLINE in model.requests[-1].turns[0].text


def test_what_was_said_before_a_question_is_read_as_well() -> None:
    said = [
        *({"role": "user", "content": f"{number}"} for number in range(9)),
        {"role": "tool", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "image_url"}, {"text": "pays?"}]},
        {"role": "assistant", "content": "Wait"},
    ]

    talk = talk_in([Raw(encode(one)) for one in said])

    assert talk.question == "Who\npays?"
    assert talk.before == [("user", f"{number}") for number in range(1, 9)]


async def test_a_knowledge_base_that_knows_nothing_says_so(alice: Client) -> None:
    kb = await alice.new_knowledge_base()

    reply = await alice.post("/v1/chat/completions", {**HELLO, "model": f"kb:{kb}", "stream": True})

    assert reply.status_code == 404
    assert error_of(reply)["code"] == "nothing_relevant"


async def test_a_knowledge_base_of_somebody_else_is_no_model(alice: Client, bob: Client) -> None:
    kb = await bob.new_knowledge_base()

    for stream in (True, False):
        reply = await alice.post("/v1/chat/completions", {**HELLO, "model": f"kb:{kb}", "stream": stream})

        assert reply.status_code == 404
        assert error_of(reply)["code"] == "model_not_found"


# Embeddings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "count"),
    [("hello world", 1), (["hello", "world"], 2), ([1, 2, 3], 1), ([[1, 2, 3], [4]], 2)],
)
async def test_each_form_of_input_has_a_vector_for_each_text(alice: Client, given: Any, count: int) -> None:
    body = {"model": "zhipu-embedding-3", "input": given}

    floats = (await alice.post("/v1/embeddings", body)).json()
    base64 = (await alice.post("/v1/embeddings", {**body, "encoding_format": "base64"})).json()

    assert [entry["index"] for entry in floats["data"]] == list(range(count))
    assert {len(entry["embedding"]) for entry in floats["data"]} == {1024}
    decoded = [array("f", b64decode(entry["embedding"])).tolist() for entry in base64["data"]]
    assert decoded == [pytest.approx(entry["embedding"]) for entry in floats["data"]]
    assert floats["usage"]["prompt_tokens"] > 0


@pytest.fixture
async def meaningful(tmp_path: Path) -> AsyncIterator[Client]:
    """Whose embedding model goes by the meaning of words, or says so."""
    embedder = NamedEmbedder(name="meaningful", is_lexical=False)
    embedders = ConfiguredEmbedders([embedder], default="meaningful")
    async with memory_backend(tmp_path, embedders=embedders) as backend:
        transport = ASGITransport(create_app(backend))  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            yield await Client(http).new_user()


async def test_token_numbers_are_no_words_to_a_model_that_goes_by_meaning(meaningful: Client) -> None:
    texts = await meaningful.post("/v1/embeddings", {"model": "meaningful", "input": ["a", "b"]})
    numbers: list[Any] = [[1, 2], [[1, 2], [3]], ["a", [1]]]
    refused = [await meaningful.post("/v1/embeddings", {"model": "meaningful", "input": given}) for given in numbers]

    assert texts.status_code == 200
    assert {(reply.status_code, error_of(reply)["code"]) for reply in refused} == {(400, "tokens_not_understood")}


async def test_vectors_can_be_shorter(alice: Client) -> None:
    body = {"model": "zhipu-embedding-3", "input": "hello world, how are you today", "dimensions": 256}

    (entry,) = (await alice.post("/v1/embeddings", body)).json()["data"]

    assert len(entry["embedding"]) == 256
    assert sum(number**2 for number in entry["embedding"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"input": ""}, 400),
        ({"input": []}, 400),
        ({"input": [""]}, 400),
        ({"input": [[]]}, 400),
        ({"input": None}, 400),
        ({"input": {"a": 1}}, 400),
        ({"input": [True]}, 400),
        ({"dimensions": 0}, 400),
        ({"dimensions": 1025}, 400),
        ({"encoding_format": "hex"}, 400),
        ({"model": "nobody-has-this"}, 404),
    ],
)
async def test_embeddings_that_cannot_be_are_refused(alice: Client, change: dict[str, Any], status: int) -> None:
    reply = await alice.post("/v1/embeddings", {"model": "zhipu-embedding-3", "input": "hello", **change})

    assert reply.status_code == status
    error_of(reply)


# Usage ---------------------------------------------------------------------------------------------------------------


async def test_what_was_used_is_told_by_key_model_day_and_kind(alice: Client, bob: Client) -> None:
    key_id = (made := (await alice.post("/api/keys", {"name": "a"})).json())["key_id"]
    key = Client(alice.http, made["key"])
    await key.post("/v1/chat/completions", HELLO)
    await key.post("/v1/chat/completions", {**HELLO, "stream": True})
    await alice.post("/v1/embeddings", {"model": "zhipu-embedding-3", "input": "hello world"})
    await bob.post("/v1/chat/completions", HELLO)

    by_key, by_kind = [
        {line["group"]: line for line in (await alice.get(f"/api/usage?group_by={by}")).json()["usage"]}
        for by in ("key", "kind")
    ]

    assert set(by_key) == {None, key_id}
    assert by_key[key_id]["requests"] == 2
    assert by_key[key_id]["total_tokens"] == 4
    assert by_key[key_id]["estimated_requests"] == 0
    assert by_kind["embeddings"]["estimated_requests"] == 1
    assert set(by_kind) == {"chat", "embeddings"}


async def test_an_answer_that_broke_off_is_accounted_for_by_an_estimate(
    alice: Client, model: ScriptedChatModel
) -> None:
    model.play_next("Well, ", "what", UpstreamCutOff())
    await alice.post("/v1/chat/completions", {**HELLO, "stream": True})

    (line,) = (await alice.get("/api/usage", params={"group_by": "model"})).json()["usage"]

    assert (line["group"], line["estimated_requests"]) == ("gpt-4o", 1)
    assert line["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=2026-03-01&to=2026-03-02", 200),
        ("from=2026-03-01T12:00:00Z", 200),
        ("from=yesterday", 400),
        ("to=2026-13-01", 400),
        ("group_by=nothing", 400),
        ("from=0001-01-01T00:00:00%2B23:59", 400),
        ("from=%00", 400),
    ],
)
async def test_a_report_is_of_days_or_moments(alice: Client, query: str, status: int) -> None:
    assert (await alice.get(f"/api/usage?{query}")).status_code == status


# How many at once ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def cramped(tmp_path: Path, model: ScriptedChatModel) -> AsyncIterator[Client]:
    """Where there is room for one at a time."""
    settings = Settings(limits=Limits(completions_per_user=1))
    async with memory_backend(tmp_path, settings, chat_model=model) as backend:
        transport = ASGITransport(create_app(backend))  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            yield Client(http)


@pytest.mark.parametrize("stream", [True, False])
async def test_one_user_cannot_take_all_there_is(cramped: Client, model: ScriptedChatModel, stream: bool) -> None:
    alice, bob = await cramped.new_user(), await cramped.new_user()
    release = asyncio.Event()
    model.play_next("Wait", release)
    first = asyncio.create_task(alice.post("/v1/chat/completions", {**HELLO, "stream": stream}))
    await model.asked()

    refused = await alice.post("/v1/chat/completions", {**HELLO, "stream": stream})
    of_bob = await bob.post("/v1/chat/completions", HELLO)
    release.set()
    allowed = [await first, await alice.post("/v1/chat/completions", HELLO)]

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert error_of(refused)["code"] == "too_many_streams"
    assert [reply.status_code for reply in [of_bob, *allowed]] == [200, 200, 200]


async def test_what_fails_makes_room(cramped: Client, model: ScriptedChatModel) -> None:
    alice = await cramped.new_user()
    model.play_next(UpstreamUnavailable())

    failed = await alice.post("/v1/chat/completions", HELLO)

    assert failed.status_code == 503
    assert (await alice.post("/v1/chat/completions", HELLO)).status_code == 200
