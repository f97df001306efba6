"""Readers of streamed answers who come back, wherever they are let in, and remember every character they were given.

They are lean: two hundred of them run beside the servers that they read from.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import urlsplit

import httptools

PATIENCE = 90.0  # seconds, after which an answer that did not come to its end counts as lost
PAUSE = 0.1  # between two attempts to get in somewhere


@dataclass(slots=True, kw_only=True)
class Reader:
    """Asks one question at the first of `urls`, and reads on at the next one whenever the connection breaks."""

    urls: list[str]
    token: str
    conversation: int
    question: str
    by_query: bool = False
    """Whether it says with `?after=` where it was, and not with `Last-Event-ID`."""
    pieces: list[str] = field(default_factory=list)
    last_id: str = ""
    full: str = ""
    failure: str = ""
    attempts: int = 0
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    refusals: list[str] = field(default_factory=list)
    """Statuses and codes other than 200."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def was_cut_off(self) -> bool:
        return self.attempts > 1

    @property
    def is_at_end(self) -> bool:
        return bool(self.full or self.failure)

    async def ask(self) -> None:
        """Until the answer has ended. What is refused for now is asked again, under the same key. Raises
        `TimeoutError`."""
        async with asyncio.timeout(PATIENCE):
            urls = cycle(self.urls)
            while not self.is_at_end:
                if not await self._read(next(urls), self._rest() if self.last_id else self._question()):
                    await asyncio.sleep(PAUSE)
        self.ended = time.monotonic()

    async def read_again(self, url: str) -> "Reader":
        """The same answer from its beginning, by somebody else."""
        other = Reader(urls=[url], token=self.token, conversation=self.conversation, question=self.question)
        async with asyncio.timeout(PATIENCE):
            await other._read(url, other._rest())
        return other

    async def _read(self, url: str, request: bytes) -> bool:
        """Whether a word came before the end or the break."""
        before = len(self.pieces)
        self.attempts += 1
        place = urlsplit(url)
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            try:
                writer.write(request)
                reply = _Reply(self)
                while not reply.is_over and (data := await reader.read(65536)):
                    reply.feed(data)
            finally:
                writer.close()
        return len(self.pieces) > before

    def _question(self) -> bytes:
        body = json.dumps({"message": self.question}).encode()
        head = f"POST /api/chat/{self.conversation} HTTP/1.1"
        key = f"Idempotency-Key: {self.conversation} {self.question}"
        return self._request(head, key, "Content-Type: application/json", f"Content-Length: {len(body)}") + body

    def _rest(self) -> bytes:
        path = f"/api/chat/{self.conversation}/stream"
        if self.by_query:
            return self._request(f"GET {path}?after={self.last_id.partition('.')[2] or 0} HTTP/1.1")
        return self._request(f"GET {path} HTTP/1.1", *([f"Last-Event-ID: {self.last_id}"] if self.last_id else []))

    def _request(self, *head: str) -> bytes:
        always = ["Host: test", f"Authorization: Bearer {self.token}", "Accept: text/event-stream", "Connection: close"]
        return "\r\n".join([*head, *always, "", ""]).encode()


class _Reply:
    """One response, event by event into its reader."""

    def __init__(self, reader: Reader) -> None:
        self.is_over = False
        self._reader = reader
        self._rest = b""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() != 200:
            self._rest += body
            return
        *blocks, self._rest = (self._rest + body).split(b"\n\n")
        for block in blocks:
            self._take(dict(_fields(block.decode())))

    def on_message_complete(self) -> None:
        self.is_over = True
        if (status := self._parser.get_status_code()) != 200:
            code = json.loads(self._rest)["code"] if self._rest else "nothing left"
            self._reader.refusals.append(f"{status} {code}")

    def _take(self, event: dict[str, str]) -> None:
        if "event" not in event:
            return
        self._reader.last_id = event.get("id", self._reader.last_id)
        data = json.loads(event["data"])["data"]
        match event["event"]:
            case "message":
                self._reader.pieces.append(data)
            case "full_response":
                self._reader.full = data
            case "stream_error":
                self._reader.failure = data["code"]


def _fields(block: str) -> Iterator[tuple[str, str]]:
    for line in block.split("\n"):
        name, _, value = line.partition(": ")
        if name:  # else it is a comment
            yield name, value


def given_twice(text: str, expected: str) -> int:
    """How many characters of `expected` are in `text` twice in a row. Raises `AssertionError` if any is missing, or
    there is anything else."""
    same = next((at for at, one in enumerate(expected) if text[at : at + 1] != one), len(expected))
    again = len(text) - len(expected)
    assert again >= 0, f"characters are missing in {text!r}"
    assert text == expected[:same] + expected[same - again :], text
    return again
