"""Asking, and reading answers in both framings."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from httpx import Response
from httpx_sse import EventSource, ServerSentEvent

from tests.http.clients import Client

STRICT = {"Accept": "text/event-stream"}
SOON = 30.0  # seconds, after which a test that waits for something has failed
PING = b": ping\n"


@asynccontextmanager
async def asking(client: Client, conversation: int, message: str = "Hello", **headers: str) -> AsyncIterator[Response]:
    """The open stream of a new answer."""
    path = f"/api/chat/{conversation}"
    headers["Authorization"] = f"Bearer {client.token}"
    async with client.http.stream("POST", path, json={"message": message}, headers=headers) as reply:
        yield reply


@asynccontextmanager
async def resuming(client: Client, conversation: int, **headers: str) -> AsyncIterator[Response]:
    """The open stream of the answer that is running, or was last."""
    path = f"/api/chat/{conversation}/stream"
    headers = {**STRICT, **headers, "Authorization": f"Bearer {client.token}"}
    async with client.http.stream("GET", path, headers=headers) as reply:
        yield reply


async def answered(client: Client, conversation: int, message: str = "Hello", **headers: str) -> Response:
    """The reply to a question, read to its end."""
    return await client.post(f"/api/chat/{conversation}", {"message": message}, headers=headers)


async def finished(client: Client, conversation: int) -> list[dict[str, Any]]:
    """The history, once the running answer has been stored."""
    await client.get(f"/api/chat/{conversation}/stream")
    return await client.history(conversation)


def events_of(reply: Response) -> AsyncIterator[ServerSentEvent]:
    """Strict events, as they come."""
    return EventSource(reply).aiter_sse()


async def all_events(reply: Response) -> list[ServerSentEvent]:
    return [event async for event in events_of(reply)]


def data_of(event: ServerSentEvent) -> Any:
    return json.loads(event.data)["data"]


def number_of(event: ServerSentEvent) -> int:
    return int(event.id.partition(".")[2])


async def first_events(events: AsyncIterator[ServerSentEvent], count: int) -> list[ServerSentEvent]:
    return [await anext(events) for _ in range(count)]


def plain_events(body: bytes) -> list[tuple[str, Any]]:
    """What a client of the old product reads: one JSON object to a block, and nothing but such blocks."""
    *blocks, rest = body.split(b"\n\n")
    assert rest == b""
    objects = [json.loads(block) for block in blocks]
    return [(found["event"], found["data"]) for found in objects]
