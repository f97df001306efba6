"""Servers that are asked verbatim, and misbehave."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from llm_backend.application.metering import IMAGE_TOKENS
from llm_backend.application.ports.completions import Streamed, VerbatimRequest
from llm_backend.domain.errors import UpstreamProtocolError, UpstreamRejectedRequest, UpstreamTimeout
from llm_backend.infrastructure.llm.client import provider_client
from llm_backend.infrastructure.llm.demo import DemoChatModel
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.passing import OpenAiServer
from llm_backend.infrastructure.llm.rendered import RenderedServer
from llm_backend.infrastructure.llm.verbatim import as_events, estimate, listed_models, whole_reply
from llm_backend.infrastructure.security.ids import RandomIds, SystemClock
from tests.upstream import Upstream

SOON = 10.0  # seconds


@pytest.fixture
def server(upstream: Upstream, client: httpx.AsyncClient) -> OpenAiServer:
    limits = AnswerLimits(longest_answer=10_000)
    return OpenAiServer(client=client, base_url=upstream.base_url, key_required=False, limits=limits)


def asking_for(behaviour: str) -> VerbatimRequest:
    return VerbatimRequest(model=behaviour, content=b'{"model":"","messages":[],"stream":true}')


async def test_an_answer_in_one_piece_without_an_end_is_given_up(server: OpenAiServer) -> None:
    poured: list[bytes] = []
    request = asking_for("endless_body")

    with pytest.raises(UpstreamProtocolError):
        await asyncio.wait_for(server.stream(request, request.model, poured.append, Streamed()), SOON)
    with pytest.raises(UpstreamProtocolError):
        await asyncio.wait_for(server.complete(request, request.model), SOON)

    assert poured == []


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_a_packed_body_is_unpacked_little_by_little(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, through_proxy: bool
) -> None:
    if through_proxy:  # then it comes over httpx's transport, as with TLS
        monkeypatch.setenv("http_proxy", upstream.base_url)
        monkeypatch.delenv("no_proxy", raising=False)
    url = f"{upstream.base_url}/chat/completions"

    async with provider_client() as client, client.stream("POST", url, json={"model": "bomb"}) as response:
        sizes = [len(part) async for part in response.aiter_bytes()]

    assert sum(sizes) > 50_000_000
    assert max(sizes) < 5_000_000


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_a_body_that_is_packed_twice_is_not_unpacked(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, through_proxy: bool
) -> None:
    if through_proxy:
        monkeypatch.setenv("http_proxy", upstream.base_url)
        monkeypatch.delenv("no_proxy", raising=False)
    request = asking_for("zipped_twice")
    poured: list[bytes] = []

    async with provider_client() as client:
        server = OpenAiServer(client=client, base_url=upstream.base_url, key_required=False)
        with pytest.raises(UpstreamProtocolError):
            await asyncio.wait_for(server.stream(request, request.model, poured.append, Streamed()), SOON)

    assert poured == []


@pytest.mark.parametrize("deep", [b'"x":', b'"messages":', b'"messages":[],"stream_options":'])
async def test_a_request_that_is_nested_too_deep_is_refused(server: OpenAiServer, deep: bytes) -> None:
    content = b'{"model":"",' + deep + b"[" * 10_000 + b"]" * 10_000 + b"}"
    request = VerbatimRequest(model="ok", content=content, instructions="Be brief")
    rendered = RenderedServer(DemoChatModel(), RandomIds(), SystemClock())

    for asked in (server, rendered):
        with pytest.raises(UpstreamRejectedRequest):
            await asked.complete(request, "ok")
        with pytest.raises(UpstreamRejectedRequest):
            await asked.stream(request, "ok", lambda _: None, Streamed())


async def test_an_answer_in_one_piece_becomes_a_stream_of_one_chunk(server: OpenAiServer) -> None:
    poured: list[bytes] = []
    request = asking_for("whole")

    await asyncio.wait_for(server.stream(request, request.model, poured.append, Streamed()), SOON)

    assert b"".join(poured).endswith(b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize(
    ("behaviour", "pieces"), [("error_and_end", 2), ("error_and_end:after=0", 0), ("error_body:code=504", 0)]
)
async def test_an_error_that_comes_with_the_end_is_one(server: OpenAiServer, behaviour: str, pieces: int) -> None:
    poured: list[bytes] = []
    request = asking_for(behaviour)

    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(server.stream(request, request.model, poured.append, Streamed()), SOON)

    assert b"".join(poured).count(b"data: {") == pieces
    assert b"[DONE]" not in b"".join(poured)


@pytest.mark.parametrize(
    "content", [b'{"error":{"message":"\xff"}}', b'{"error":' + b"[" * 100_000, b"\xff", b"[]", b""]
)
def test_a_reply_that_cannot_be_read_is_the_fault_of_the_server(content: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        whole_reply(content, asking_for("ok"), "ok")
    with pytest.raises(UpstreamProtocolError):
        as_events(content)


@pytest.mark.parametrize(
    "enclosed",
    [
        {"image_url": {"url": "data:image/png;base64," + "A/b+" * 100_000}},
        {"input_audio": {"data": "A/b+" * 100_000, "format": "wav"}},
        {"file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + "A/b+" * 100_000}},
        {"file": {"filename": "a.pdf", "file_data": "A/b+" * 100_000}},
    ],
)
def test_what_is_enclosed_is_estimated_by_the_piece_and_not_by_its_characters(enclosed: dict[str, Any]) -> None:
    content = [{"type": "text", "text": "What is that?"}, enclosed, enclosed]
    request = VerbatimRequest(model="m", content=msgspec.json.encode({"messages": [{"content": content}]}))

    usage = estimate(request, b"").prompt

    assert 2 * IMAGE_TOKENS < usage < 2 * IMAGE_TOKENS + 100


def test_words_about_data_are_words() -> None:
    said = 'the field "data": "' + "word " * 1000
    request = VerbatimRequest(model="m", content=msgspec.json.encode({"messages": [{"content": said}]}))

    assert estimate(request, b"").prompt > 1000


def test_a_model_whose_name_cannot_be_read_is_left_out() -> None:
    content = b'{"data":[{"id":"\xff"},{"id":"good"},{"id":5}]}'

    assert [model.id for model in listed_models(content)] == ["good"]
