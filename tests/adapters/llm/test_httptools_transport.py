"""The transport under httpx: connections kept, shared, bounded and given up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from llm_backend.infrastructure.llm.client import provider_client, quiet
from llm_backend.infrastructure.llm.http_exchange import PUSH
from llm_backend.infrastructure.llm.httptools_transport import HttptoolsTransport
from tests.upstream import Upstream, text

SOON = 10  # seconds


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    async with client_for(upstream, HttptoolsTransport()) as client:
        yield client


def client_for(upstream: Upstream, transport: HttptoolsTransport, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, base_url=upstream.base_url, timeout=SOON, **options)


async def ask(client: httpx.AsyncClient, behaviour: str) -> httpx.Response:
    return await client.post("/chat/completions", json={"model": behaviour})


def connections(upstream: Upstream) -> list[int]:
    return [request.connection for request in upstream.requests]


async def test_it_is_an_ordinary_transport(client: httpx.AsyncClient) -> None:
    response = await ask(client, "whole")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["choices"][0]["message"]["content"] == text(10)


async def test_a_connection_is_used_again_after_a_response_that_was_read_to_its_end(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    for behaviour in ("ok", "whole", "500", "burst", "hints"):
        await ask(client, behaviour)

    assert connections(upstream) == [1] * 5


async def test_a_connection_is_closed_when_its_response_was_not_read(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    async with client.stream("POST", "/chat/completions", json={"model": "stall"}) as response:
        assert response.status_code == 200

    await asyncio.wait_for(upstream.requests[0].hung_up.wait(), SOON)
    await ask(client, "ok")
    assert connections(upstream) == [1, 2]


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    await ask(client, "ok")

    upstream.next("slams", "ok")
    response = await ask(client, "ok")

    assert response.status_code == 200
    assert connections(upstream) == [1, 1, 2]


async def test_a_new_connection_that_is_closed_without_an_answer_is_a_failure(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadError):
        await ask(client, "slams")


@pytest.mark.parametrize("behaviour", ["cut", "reset", "headers_only"])
async def test_a_body_that_breaks_off_is_a_failure(client: httpx.AsyncClient, behaviour: str) -> None:
    with pytest.raises(httpx.ReadError):
        await ask(client, behaviour)


async def test_a_body_may_end_with_its_connection(client: httpx.AsyncClient) -> None:
    assert "data: [DONE]" in (await ask(client, "until_closed")).text


@pytest.mark.parametrize("behaviour", ["not_http", "endless_head"])
async def test_what_is_no_response_is_a_failure(client: httpx.AsyncClient, behaviour: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(client, behaviour)


async def test_what_follows_a_response_unasked_closes_the_connection(upstream: Upstream) -> None:
    async with twice_answering() as port, httpx.AsyncClient(transport=HttptoolsTransport(), timeout=SOON) as client:
        answers = [(await client.get(f"http://127.0.0.1:{port}/{number}")).text for number in range(3)]

    assert answers == ["right"] * 3


class twice_answering:  # noqa: N801 - reads as a function
    """A server that answers each request twice; the second answer must never be taken for that to the next request."""

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            for word in (b"right", b"wrong"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + word)
        writer.close()


async def test_a_slow_reader_holds_the_server_back(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/chat/completions", json={"model": "endless_answer"}) as response:
        parts = response.aiter_raw()
        await anext(parts)
        await asyncio.sleep(0.1)  # time enough to send many times what is held

        held = len(await anext(parts))

        assert 0 < held < 2 * 1024 * 1024


async def test_a_late_reader_misses_nothing(client: httpx.AsyncClient) -> None:
    heard = bytearray()

    async with client.stream("POST", "/chat/completions", json={"model": "burst:tokens=20000"}) as response:
        await asyncio.sleep(0.1)  # more comes meanwhile than is held
        await asyncio.wait_for(response.extensions[PUSH](heard.extend), SOON)

    assert heard.count(b"data: ") == 20_003


async def test_the_body_is_pushed_as_it_comes_and_read_no_further_than_wanted(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    heard = bytearray()

    def sink(data: bytes) -> bool:
        heard.extend(data)
        return b"[DONE]" in heard

    for behaviour in ("ok:delay=0.002", "ok"):
        async with client.stream("POST", "/chat/completions", json={"model": behaviour}) as response:
            await asyncio.wait_for(response.extensions[PUSH](sink), SOON)
        assert heard.endswith(b"data: [DONE]\n\n")
        heard.clear()

    assert connections(upstream)[0] == 1


async def test_a_body_whose_end_is_not_awaited_still_frees_its_connection(upstream: Upstream) -> None:
    def sink(data: bytes) -> bool:
        return b"[DONE]" in data

    transport = HttptoolsTransport(max_connections=1)
    async with client_for(upstream, transport) as client:
        for _ in range(2):
            async with client.stream("POST", "/chat/completions", json={"model": "stays_open"}) as response:
                await asyncio.wait_for(response.extensions[PUSH](sink), SOON)

    assert len(upstream.requests) == 2


async def test_what_the_sink_raises_comes_out_and_closes_the_connection(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    def sink(_: bytes) -> bool:
        raise KeyError("full")

    async with client.stream("POST", "/chat/completions", json={"model": "stall"}) as response:
        with pytest.raises(KeyError):
            await asyncio.wait_for(response.extensions[PUSH](sink), SOON)

    await asyncio.wait_for(upstream.requests[0].hung_up.wait(), SOON)


async def test_connections_are_limited_and_the_others_wait(upstream: Upstream) -> None:
    async with client_for(upstream, HttptoolsTransport(max_connections=2)) as client:
        responses = await asyncio.gather(*(ask(client, "ok:tokens=3,delay=0.005") for _ in range(8)))

    assert [response.status_code for response in responses] == [200] * 8
    assert set(connections(upstream)) == {1, 2}


async def test_waiting_for_a_connection_may_be_limited(upstream: Upstream) -> None:
    async with client_for(upstream, HttptoolsTransport(max_connections=1)) as client:
        async with client.stream("POST", "/chat/completions", json={"model": "stall"}):
            with pytest.raises(httpx.PoolTimeout):
                await client.get("/", timeout=httpx.Timeout(SOON, pool=0.05))

        assert (await ask(client, "ok")).status_code == 200


async def test_failures_do_not_use_up_the_connections(upstream: Upstream) -> None:
    async with client_for(upstream, HttptoolsTransport(max_connections=1)) as client:
        for behaviour in ("slams", "cut", "not_http", "reset"):
            with pytest.raises(httpx.TransportError):
                await ask(client, behaviour)
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/chat/completions", json={"model": "hangs"}, timeout=0.05)
        waiting = asyncio.ensure_future(ask(client, "hangs"))
        await asyncio.wait_for(upstream.arrived(6), SOON)
        waiting.cancel()

        assert (await ask(client, "ok")).status_code == 200


async def test_connections_do_not_stay_for_ever(upstream: Upstream) -> None:
    async with client_for(upstream, HttptoolsTransport(keep_alive=0)) as client:
        await ask(client, "ok")
        await ask(client, "ok")

    assert connections(upstream) == [1, 2]


async def test_closing_the_client_closes_its_connections(upstream: Upstream) -> None:
    async with client_for(upstream, HttptoolsTransport()) as client:
        await ask(client, "ok")

    await asyncio.wait_for(upstream.requests[0].hung_up.wait(), SOON)


async def test_a_header_cannot_smuggle_another(client: httpx.AsyncClient, upstream: Upstream) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        await client.get("/", headers={"x-key": "a\r\nx-evil: b"})

    assert upstream.requests == []


async def test_a_body_of_unknown_length_is_sent_whole(client: httpx.AsyncClient, upstream: Upstream) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"model": '
        yield b'"ok"}'

    await client.post("/chat/completions", content=body())

    assert upstream.requests[0].model == "ok"


async def test_tls_is_left_to_others(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        await client.get("https://127.0.0.1/")


async def test_the_providers_client_shares_no_cookies_and_logs_no_addresses(
    upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with provider_client() as client:
        for _ in range(2):
            with quiet():
                await client.post(f"{upstream.base_url}/chat/completions", json={"model": "ok"})

    assert all("cookie" not in request.headers for request in upstream.requests)
    assert caplog.text == ""


async def test_a_proxy_named_by_the_environment_is_used(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{upstream.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    async with provider_client() as client:
        await client.post("http://models.example/v1/chat/completions", json={"model": "ok"})

    assert upstream.requests[0].path == "http://models.example/v1/chat/completions"
