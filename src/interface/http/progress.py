"""The response that follows a document on its way in, as server-sent events."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from litestar.types import Receive, Scope, Send

from llm_backend.application.ending import ended
from llm_backend.domain.errors import DomainError, Unavailable
from llm_backend.domain.knowledge import DocumentStatus
from llm_backend.interface.http.following import HEADERS
from llm_backend.interface.http.rag_texts import RAG_TEXTS
from llm_backend.interface.http.streams import PING, RETRY, FailureOut

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusStream:
    """An ASGI application that writes each status until the last, or until the client leaves.

    No ids: each event tells everything, and whoever comes back gets the present one at once.
    """

    statuses: AsyncIterator[DocumentStatus]
    encode: Callable[[DocumentStatus], bytes]
    keep_alive: timedelta

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        writing = asyncio.create_task(self._write_all(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            while not await _first_of(writing, leaving, within=self.keep_alive):
                await send({"type": "http.response.body", "body": PING, "more_body": True})
        finally:
            await ended(leaving, writing)

    async def _write_all(self, send: Send) -> None:
        ending = b""
        try:
            async with aclosing(self.statuses) as statuses:  # type: ignore[type-var]
                start = RETRY
                async for status in statuses:
                    event = b"%bevent: status\ndata: %b\n\n" % (start, self.encode(status))
                    await send({"type": "http.response.body", "body": event, "more_body": True})
                    start = b""
        except DomainError as error:  # after the first byte an error is an event
            ending = _failed(error)
        except Exception:
            logger.exception("a stream broke off")
            ending = _failed(Unavailable())
        await send({"type": "http.response.body", "body": ending, "more_body": False})


def _failed(error: DomainError) -> bytes:
    failure = FailureOut(error.code, RAG_TEXTS.get(error.code, str(error)))
    return b"event: stream_error\ndata: %b\n\n" % msgspec.json.encode(failure)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*tasks: "asyncio.Task[None]", within: timedelta) -> bool:
    """Whether one of them has ended, after no more than that time."""
    done, _ = await asyncio.wait(tasks, timeout=within.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
    return bool(done)
