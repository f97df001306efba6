"""Bytes of many replies, written together at the end of a turn; over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from llm_backend.interface.http.batched_writes import MOST_WAITING, BatchedWrites
from llm_backend.interface.http.edge import Edge, piece_writer
from llm_backend.interface.http.server import ServerOptions
from tests.live import serving

SOON = 10.0


class Pair:
    """Both ends of a connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamReader) -> None:
        self.transport = near.transport
        self._far = far

    async def received(self) -> bytes:
        """All that came, once the near end is closed."""
        async with asyncio.timeout(SOON):
            return await self._far.read()


@pytest.fixture
async def pairs() -> AsyncIterator[list[Pair]]:
    accepted: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await accepted.put(reader)

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        pairs: list[Pair] = []
        for _ in range(2):
            _, writer = await asyncio.open_connection(*address)
            writers.append(writer)
            pairs.append(Pair(writer, await accepted.get()))
        yield pairs
        for writer in writers:
            writer.close()


async def test_what_is_added_in_one_turn_is_written_at_its_end_each_in_order(pairs: list[Pair]) -> None:
    writes = BatchedWrites()
    one, other = pairs
    for number in range(3):
        writes.add(one.transport, b"%d" % number)
        writes.add(other.transport, b"-%d" % number)
    await asyncio.sleep(0)
    writes.add(one.transport, b"3")
    await asyncio.sleep(0)
    for pair in pairs:
        pair.transport.close()

    assert [await pair.received() for pair in pairs] == [b"0123", b"-0-1-2"]


async def test_not_much_waits_for_the_end_of_a_turn(pairs: list[Pair]) -> None:
    writes = BatchedWrites()
    one, other = pairs
    writes.add(one.transport, b"a little")
    writes.add(other.transport, bytes(MOST_WAITING))
    for pair in pairs:
        pair.transport.close()

    assert await one.received() == b"a little"
    assert await other.received() == bytes(MOST_WAITING)


async def test_what_waits_is_written_before_what_goes_another_way(pairs: list[Pair]) -> None:
    writes = BatchedWrites()
    one, other = pairs
    writes.add(one.transport, b"first ")
    writes.add(other.transport, b"of another")
    writes.flush(one.transport)
    one.transport.write(b"second ")
    writes.add(one.transport, b"third")
    await asyncio.sleep(0)
    for pair in pairs:
        pair.transport.close()

    assert [await pair.received() for pair in pairs] == [b"first second third", b"of another"]


async def test_a_transport_that_is_gone_or_fails_costs_the_others_nothing(pairs: list[Pair]) -> None:
    class Broken(asyncio.WriteTransport):
        aborted = False

        def is_closing(self) -> bool:
            return self.aborted

        def write(self, data: Any) -> None:
            raise ZeroDivisionError

        def abort(self) -> None:
            self.aborted = True

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    writes = BatchedWrites()
    gone, other = pairs
    broken = Broken()
    writes.add(gone.transport, b"too late")
    writes.add(broken, b"never")
    writes.add(other.transport, b"all the same")
    gone.transport.abort()
    await asyncio.sleep(0)
    other.transport.close()

    assert await other.received() == b"all the same"
    assert broken.aborted
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


@pytest.mark.parametrize("ends", ["well", "by an error", "by giving up"])
async def test_whatever_ends_a_reply_its_last_piece_is_sent(ends: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        write = piece_writer(scope, send)
        assert write(b"one ") is None
        assert write(b"two ") is None
        if ends == "by an error":
            raise ZeroDivisionError
        if ends == "well":
            await send({"type": "http.response.body", "body": b"three", "more_body": False})

    async with serving(Edge(app), ServerOptions(port=0)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        async with asyncio.timeout(SOON):
            _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()

    pieces = b"4\r\none \r\n4\r\ntwo \r\n"
    assert body == pieces + (b"5\r\nthree\r\n0\r\n\r\n" if ends == "well" else b"")
