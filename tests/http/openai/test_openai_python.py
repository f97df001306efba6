"""OpenAI's own client for Python against the live server, with a model's server behind it that misbehaves on demand."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from llm_backend.application.backend import Backend
from llm_backend.bootstrap import open_backend
from llm_backend.config import Limits, Llm, Provider, Settings, Timeouts
from llm_backend.config.models import ModelPrice
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.interface.http.server import HttpServer
from tests.http.apps import app_over
from tests.http.backends import FastPasswords
from tests.http.clients import NO_CERTIFICATES, PASSWORD
from tests.live import serving
from tests.upstream import PROVIDER_WORDS, Upstream, text

BOUND = 60.0  # seconds, longer than any time-out of the server
HELLO: Any = [{"role": "user", "content": "Hello"}]
OF_THE_SERVER = "sk-of-the-server"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


def settings_for(upstream: Upstream, folder: Path) -> Settings:
    provider = Provider(
        name="upstream",
        base_url=upstream.base_url,
        models=("*",),
        api_key=Secret(OF_THE_SERVER),
        fallbacks=("demo",),
    )
    demo = Provider(name="demo", kind="demo", models=("demo",))
    lonely = Provider(name="lonely", base_url=upstream.base_url, models=("lonely-*",), needs_key=False)
    # Three tests wait for them to end; to the others they must not happen on a machine under load.
    timeouts = Timeouts(first_token=timedelta(seconds=5), idle=timedelta(seconds=5), total=timedelta(seconds=30))
    llm = Llm(
        providers=(lonely, demo, provider),
        timeouts=timeouts,
        retries=1,
        aliases={"fast": "ok:tokens=3"},
        prices=(ModelPrice(models=("*",), prompt=1.0, completion=2.0),),
    )
    return Settings(data_folder=folder, llm=llm, limits=Limits(streams_per_user=None))


@pytest.fixture
async def backend(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Backend]:
    settings = settings_for(upstream, tmp_path)
    async with open_backend(
        settings, store=MemoryStore(), passage_index=MemoryPassageIndex(), passwords=FastPasswords()
    ) as backend:
        yield backend


@pytest.fixture
async def live(backend: Backend) -> AsyncIterator[HttpServer]:
    with app_over(backend) as app:
        async with serving(app, drain=backend.drain) as live:
            yield live


@pytest.fixture
async def http(live: HttpServer) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has logged in."""
    async with httpx.AsyncClient(base_url=live.url, timeout=BOUND, verify=NO_CERTIFICATES) as http:
        credentials = {"username": "alice", "password": PASSWORD}
        await http.post("/api/users/register", json=credentials)
        token = (await http.post("/api/users/login", json=credentials)).json()["token"]
        http.headers["authorization"] = f"Bearer {token}"
        yield http


@pytest.fixture
async def client(http: httpx.AsyncClient, live: HttpServer) -> AsyncIterator[AsyncOpenAI]:
    key = (await http.post("/api/keys", json={"name": "a program"})).json()["key"]
    async with (
        DefaultAsyncHttpxClient(verify=NO_CERTIFICATES) as plain,
        AsyncOpenAI(base_url=f"{live.url}/v1", api_key=key, max_retries=0, timeout=BOUND, http_client=plain) as client,
    ):
        yield client


async def streamed(client: AsyncOpenAI, model: str, **options: Any) -> list[Any]:
    return [chunk async for chunk in await client.chat.completions.create(**_asked(model), stream=True, **options)]


def _asked(model: str) -> dict[str, Any]:
    return {"model": model, "messages": HELLO}


def text_of(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_models_are_listed_and_looked_at(client: AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]

    assert {"demo", "fast", "hash-1024"} <= set(listed)
    assert (await client.models.retrieve("demo")).owned_by == "demo"
    assert (await client.models.retrieve("org/some-model")).id == "org/some-model"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("kb:nothing")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "behaviour",
    [
        "ok",
        "burst",
        "crlf",
        "cr",
        "split:size=7",
        "whole",
        "no_done",
        "zipped",
        "no_options",
        "closes",
        "until_closed",
        "hints",
    ],
)
async def test_a_stream_is_the_same_however_it_was_written(client: AsyncOpenAI, behaviour: str) -> None:
    chunks = await streamed(client, behaviour)

    assert text_of(chunks) == text(10)
    assert any(chunk.choices[0].finish_reason == "stop" for chunk in chunks)


async def test_an_answer_comes_in_one_piece(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(**_asked("whole:tokens=5"))

    assert reply.choices[0].message.content == text(5)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 7


async def test_figures_are_told_to_those_who_ask(client: AsyncOpenAI) -> None:
    told = await streamed(client, "ok", stream_options={"include_usage": True})
    untold = await streamed(client, "ok")

    assert told[-1].choices == []
    assert told[-1].usage.prompt_tokens == 7
    assert all(chunk.choices for chunk in untold)


async def test_what_nobody_here_understands_goes_on_as_it_is_and_redirections_do_not(
    client: AsyncOpenAI, upstream: Upstream
) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    elsewhere = {"base_url": "http://127.0.0.1:9/v1", "api_base": "http://127.0.0.1:9", "api_key": "sk-mine"}

    await streamed(
        client,
        "ok",
        tools=[tool],
        tool_choice="auto",
        n=2,
        seed=7,
        extra_body={"unheard_of": [1, {"b": None}], **elsewhere},
    )

    (request,) = upstream.requests
    assert request.headers["authorization"] == f"Bearer {OF_THE_SERVER}"
    assert request.body == {
        **_asked("ok"),
        "stream": True,
        "tools": [tool],
        "tool_choice": "auto",
        "n": 2,
        "seed": 7,
        "unheard_of": [1, {"b": None}],
        "stream_options": {"include_usage": True},
    }


async def test_an_alias_is_another_name(client: AsyncOpenAI, upstream: Upstream) -> None:
    assert text_of(await streamed(client, "fast")) == text(3)
    assert upstream.requests[-1].model == "ok:tokens=3"


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        ("401", 502, "upstream_rejected_key"),
        ("429:retry_after=60", 503, "upstream_rate_limited"),
        ("400", 400, "upstream_rejected_request"),
        ("500", 503, "upstream_unavailable"),
        ("redirect", 502, "upstream_protocol_error"),
        ("page", 502, "upstream_protocol_error"),
        ("error_body", 503, "upstream_unavailable"),
        ("error_event:after=0,code=429", None, None),
        ("headers_only", 502, "upstream_cut_off"),
        ("slams", 503, "upstream_unavailable"),
        ("hangs", 504, "upstream_timeout"),
        ("pings", 504, "upstream_timeout"),
    ],
)
async def test_what_fails_before_the_first_piece_is_a_status(
    client: AsyncOpenAI, upstream: Upstream, behaviour: str, status: int | None, code: str | None
) -> None:
    upstream.next(*[behaviour] * 4)

    with pytest.raises(openai.APIError) as caught:
        await streamed(client, "lonely-model")

    assert PROVIDER_WORDS not in str(caught.value)
    if status is not None:
        assert isinstance(caught.value, openai.APIStatusError)
        assert (caught.value.status_code, caught.value.code) == (status, code)
        assert caught.value.request_id


@pytest.mark.parametrize("behaviour", ["error_event", "garbage", "reset", "cut", "ends_early", "stall"])
async def test_what_fails_later_raises_and_is_never_a_silent_end(client: AsyncOpenAI, behaviour: str) -> None:
    seen: list[Any] = []

    async def read() -> None:
        async for chunk in await client.chat.completions.create(**_asked(f"{behaviour}:after=2"), stream=True):
            seen.append(chunk)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(openai.APIError) as caught:
        await read()

    assert text_of(seen) == text(2)
    assert PROVIDER_WORDS not in str(caught.value)


async def test_a_failure_is_tried_again_and_then_somebody_else_is_asked(
    client: AsyncOpenAI, upstream: Upstream
) -> None:
    upstream.next("500", "ok")
    again = await streamed(client, "some-model")
    upstream.next("500", "500")
    elsewhere = await streamed(client, "some-model")

    assert text_of(again) == text(10)
    assert "demo" in text_of(elsewhere)


async def test_whoever_leaves_ends_the_answer(client: AsyncOpenAI, upstream: Upstream, http: httpx.AsyncClient) -> None:
    stream = await client.chat.completions.create(**_asked("stall:after=3"), stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()

    async with asyncio.timeout(BOUND):
        await upstream.requests[-1].hung_up.wait()
        while not (lines := (await http.get("/api/usage?group_by=model")).json()["usage"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert lines[0]["estimated_requests"] == 1


async def test_usage_and_cost_are_the_providers_figures(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    await streamed(client, "ok")

    (line,) = (await http.get("/api/usage?group_by=model")).json()["usage"]

    assert (line["group"], line["prompt_tokens"], line["completion_tokens"]) == ("ok", 7, 10)
    assert line["estimated_requests"] == 0
    assert line["cost"] == pytest.approx((7 * 1.0 + 10 * 2.0) / 1e6)


async def test_vectors_come_as_the_client_asks_for_them(client: AsyncOpenAI) -> None:
    by_default = await client.embeddings.create(model="hash-1024", input=["hello", "world"])
    floats = await client.embeddings.create(model="hash-1024", input=["hello", "world"], encoding_format="float")
    tokens = await client.embeddings.create(model="hash-1024", input=[[1, 2], [3]], dimensions=256)

    assert [len(entry.embedding) for entry in by_default.data] == [1024, 1024]
    assert by_default.data[0].embedding == pytest.approx(floats.data[0].embedding)
    assert [len(entry.embedding) for entry in tokens.data] == [256, 256]


async def test_an_embedding_model_of_the_configuration_goes_before_a_pattern_of_a_provider(
    client: AsyncOpenAI, upstream: Upstream
) -> None:
    reply = await client.embeddings.create(model="hash-1024", input="hello")

    assert len(reply.data[0].embedding) == 1024
    assert upstream.requests == []


async def test_a_wrong_key_is_an_authentication_error(live: HttpServer) -> None:
    async with AsyncOpenAI(base_url=f"{live.url}/v1", api_key="sk-wrong", max_retries=0) as nobody:
        with pytest.raises(openai.AuthenticationError) as caught:
            await nobody.models.list()

    assert caught.value.code == "invalid_api_key"


async def test_the_raw_stream_is_that_of_the_models_server(http: httpx.AsyncClient) -> None:
    body = {**_asked("ok"), "stream": True}

    reply = await http.post("/v1/chat/completions", json=body)

    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, last = reply.text.removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    assert {json.loads(event.removeprefix("data: "))["id"] for event in events} == {"chatcmpl-1"}
