"""Streams whose client, or whose server, is not as quick as usual; without a server, as none can be made so slow."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.completions import Pour
from llm_backend.application.ports.stream_log import LogReader
from llm_backend.domain.answers import Delta, Done, FullText
from llm_backend.domain.ids import AnswerId
from llm_backend.interface.http.following import AnswerStream, Opening
from llm_backend.interface.http.openai.streaming import EventStream
from llm_backend.interface.http.streams import StrictFraming

SCOPE: Any = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": []}


class SlowClient:
    """Takes one message after the other, and takes its time over those for which it is `slow`."""

    def __init__(self, *slow: str) -> None:
        self.slow = slow
        self.taken: list[Any] = []
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.is_idle = True

    async def send(self, message: Any) -> None:
        self.taken.append(message)
        assert self.is_idle
        if message["type"] in self.slow or (not message.get("more_body", True) and "end" in self.slow):
            self.is_idle = False
            self.asked.set()
            await self.go_on.wait()
            self.is_idle = True

    async def receive(self) -> Any:
        await asyncio.Event().wait()

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.taken if message["type"] == "http.response.body"]


@asynccontextmanager
async def serving(app: Any, client: SlowClient) -> AsyncIterator[None]:
    task = asyncio.create_task(app(SCOPE, client.receive, client.send))
    async with asyncio.timeout(10):
        yield
        await task


async def test_nothing_is_written_behind_the_end_to_keep_a_stream_alive() -> None:
    batches: list[list[NumberedEvent]] = [[(1, Delta("one"))], [(2, Done(None, None, None)), (3, FullText("one"))]]

    async def follow(reader: LogReader) -> None:
        while batches and not reader.take(batches[0]):
            batches.pop(0)

    stream = AnswerStream(
        follow=follow,
        after=0,
        framing=StrictFraming(AnswerId(7)),
        opening=Opening.RESUMED,
        keep_alive=timedelta(),
    )
    client = SlowClient("end")
    async with serving(stream, client):
        await client.asked.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        client.go_on.set()

    assert client.taken[-1]["more_body"] is False


@pytest.mark.parametrize("slow", ["http.response.start", "http.response.body"])
async def test_pieces_wait_their_turn_when_the_client_is_slow(slow: str) -> None:
    client = SlowClient(slow)

    async def run(pour: Pour) -> None:
        pour(b"one ")
        await client.asked.wait()
        pour(b"two ")
        pour(b"three")
        client.go_on.set()

    async with serving(EventStream(run), client):
        pass

    assert client.taken[0]["type"] == "http.response.start"
    assert b"".join(client.bodies) == b"one two three"


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stream_that_the_server_does_not_outlast_says_so(begun: bool) -> None:
    client, is_running = SlowClient(), asyncio.Event()

    async def run(pour: Pour) -> None:
        if begun:
            pour(b"data: {}\n\n")
        is_running.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(EventStream(run)(SCOPE, client.receive, client.send))
    await is_running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    if begun:
        first, last = client.bodies
        assert first == b"data: {}\n\n"
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
        assert client.taken[-1]["more_body"] is False
    else:  # it is a status then
        assert not client.taken
