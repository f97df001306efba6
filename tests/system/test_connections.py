"""Connections that come to nothing, and requests that are not what they seem, on bare sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.streams import SOON, answered, plain_events
from tests.upstream import text

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def a_connection(server: ServerProcess) -> AsyncIterator[Streams]:
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def all_that_comes(reader: asyncio.StreamReader) -> bytes:
    """Until the server hangs up."""
    async with asyncio.timeout(SOON):
        return await reader.read()


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_never_ends_is_given_up_at_the_deadline(server: ServerProcess, sent: bytes) -> None:
    async with a_connection(server) as (reader, writer):
        writer.write(sent)

        seen = await all_that_comes(reader)

    assert seen.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in seen


async def test_a_head_that_drips_is_given_up_at_the_same_deadline(server: ServerProcess) -> None:
    """Each byte is progress; the deadline is for the whole."""
    async with a_connection(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        reading = asyncio.create_task(all_that_comes(reader))
        while not reading.done():
            writer.write(b"z")
            await asyncio.wait([reading], timeout=0.2)

    assert (await reading).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Content-Length: 6\r\nContent-Length: 7",
        "Content-Length: +6",
        "Transfer-Encoding: chunked, identity",
    ],
)
async def test_a_smuggled_request_is_never_answered(server: ServerProcess, framing: str) -> None:
    smuggled = "GET /docs HTTP/1.1\r\nHost: x\r\n\r\n"
    async with a_connection(server) as (reader, writer):
        writer.write(f"POST /api/users/login HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}".encode())

        seen = await all_that_comes(reader)

    assert seen.count(b"HTTP/1.1 ") == 1
    assert seen.startswith(b"HTTP/1.1 400 ")


async def test_a_hundred_idle_connections_keep_nobody_waiting(alice: Client, server: ServerProcess) -> None:
    conversation = await alice.new_conversation(model="burst:tokens=30")

    async with AsyncExitStack() as stack:
        for number in range(100):
            _, writer = await stack.enter_async_context(a_connection(server))
            if number % 2:
                writer.write(b"POST /api/users/login HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        replies = await asyncio.gather(*(alice.get("/healthz") for _ in range(20)), answered(alice, conversation))

    assert {reply.status_code for reply in replies} == {200}
    assert plain_events(replies[-1].content)[-1] == ("full_response", text(30))


async def test_a_head_without_end_is_refused_before_it_fills_the_memory(server: ServerProcess) -> None:
    async with a_connection(server) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        seen = b""
        with suppress(ConnectionError):  # a reset, as the server hangs up with more to come, can overtake its reply
            async with asyncio.timeout(SOON):
                while not reader.at_eof():
                    writer.write(b"X-More: " + b"y" * 8192 + b"\r\n")
                    await writer.drain()
                    with suppress(TimeoutError):
                        seen += await asyncio.wait_for(reader.read(100), 0.01)

    assert not seen or seen.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /healthz?x=" + "a" * 100_000, 431),
        ("GET /healthz HTTP/1.1\r\nX-More: " + "a" * 100_000, 431),
        ("GET http://", 400),
        ("GET http://[::1", 400),
        ("GET http://a:99999999/x", 400),
        ("CONNECT a:1", 400),
    ],
)
async def test_a_head_that_nobody_can_serve_is_answered_on_a_new_and_on_a_kept_connection(
    server: ServerProcess, head: str, status: int
) -> None:
    request = (head if "HTTP/1.1" in head else f"{head} HTTP/1.1").encode() + b"\r\nHost: x\r\n\r\n"
    good = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for earlier in (b"", good):
        async with a_connection(server) as (reader, writer):
            writer.write(earlier)
            if earlier:
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            writer.write(request)

            assert (await all_that_comes(reader)).startswith(b"HTTP/1.1 %d " % status)
    assert "Traceback" not in server.output


async def test_clients_that_leave_by_the_dozen_leave_nothing_behind(alice: Client, server: ServerProcess) -> None:
    """Each hangs up in the middle of an answer; all answers are finished, and the server is as before."""
    conversations = [await alice.new_conversation(model="ok:tokens=20,delay=0.01") for _ in range(12)]
    body = b'{"message": "Hello"}'
    for conversation in conversations:
        async with a_connection(server) as (reader, writer):
            head = f"POST /api/chat/{conversation} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.transport.abort()

    await asyncio.gather(*(alice.get(f"/api/chat/{conversation}/stream") for conversation in conversations))

    for conversation in conversations:
        assert (await alice.history(conversation))[1]["content"] == text(20)
