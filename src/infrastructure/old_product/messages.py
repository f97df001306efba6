"""What was said, from the old product's Redis, which is only read."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from llm_backend.application.ports.old_product import OldDataUnusable, OldMessage
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.old_product.database import moment

PATIENCE = timedelta(seconds=30)  # for one command
PREFIX = "conversation:"


class Said(NamedTuple):
    """A conversation as far as it is in Redis."""

    title: str
    model: str | None
    api_key: Secret | None
    created_at: datetime | None
    messages: Sequence[OldMessage]
    lost: int
    """Messages that make no sense."""


class Broken(Exception):
    """There is something by that key, but no conversation; the message says why."""


class _Commands(Protocol):
    """What we use of the library's client."""

    def get(self, name: str) -> Awaitable[bytes | None]: ...

    def lrange(self, name: str, start: int, end: int) -> Awaitable[list[bytes]]: ...

    def scan_iter(self, match: str) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class OldMessages:
    """Reads conversations by their ids. Raises `OldDataUnusable` when Redis cannot be reached."""

    def __init__(self, client: _Commands) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str) -> AsyncIterator["OldMessages"]:
        """`host:port`, or a URL that may have a password and the number of a database: redis://:password@host/0."""
        from redis.asyncio import Redis

        url = address if "://" in address else f"redis://{address}"
        seconds = PATIENCE.total_seconds()
        try:
            client = Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds)
        except ValueError as error:
            raise OldDataUnusable("This is no address of a Redis: host:port, or a URL") from error
        try:
            yield cls(cast(_Commands, client))
        finally:
            await client.aclose()

    async def of(self, conversation: str) -> Said | None:
        """Nothing if there is nothing. Raises `Broken`."""
        content = await self._asked(self._client.get(f"{PREFIX}{conversation}"))
        record = _record(content) if content is not None else {}
        said = _messages(record.get("messages"))
        if not said:
            listed = await self._asked(self._client.lrange(f"{PREFIX}{conversation}:messages", 0, -1))
            said = [_message(_decoded(item)) for item in listed]
            if content is None and not said:
                return None
        return _said(record, said)

    async def ids(self) -> AsyncIterator[str]:
        """Of all that are there, in no order, and perhaps some twice."""
        from redis.exceptions import RedisError

        try:
            async for name in self._client.scan_iter(match=f"{PREFIX}*"):
                yield name.decode("utf-8", "replace").removeprefix(PREFIX).removesuffix(":messages")
        except (RedisError, OSError) as error:
            raise OldDataUnusable(f"Redis cannot be read: {error}") from error

    async def _asked(self, command: Awaitable[Any]) -> Any:
        from redis.exceptions import AuthenticationError, RedisError, ResponseError

        try:
            return await command
        except (AuthenticationError, OSError) as error:
            raise OldDataUnusable(f"Redis cannot be read: {error}") from error
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                raise Broken("there is something else by its key") from error
            raise OldDataUnusable(f"Redis cannot be read: {error}") from error
        except RedisError as error:
            raise OldDataUnusable(f"Redis cannot be read: {error}") from error


def _record(content: bytes) -> dict[str, Any]:
    record = _decoded(content)
    if not isinstance(record, dict):
        raise Broken("what is by its key is no JSON object")
    return record


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _messages(found: object) -> list[OldMessage | None]:
    return [_message(item) for item in found] if isinstance(found, list) else []


def _message(item: object) -> OldMessage | None:
    if not isinstance(item, dict):
        return None
    role, text = item.get("role"), item.get("content")
    return OldMessage(role=role, text=text) if isinstance(role, str) and isinstance(text, str) else None


def _said(record: dict[str, Any], messages: Sequence[OldMessage | None]) -> Said:
    kept = [message for message in messages if message]
    key = _text(record.get("api_key"))
    return Said(
        title=_text(record.get("title")) or "",
        model=_text(record.get("model")),
        api_key=Secret(key) if key else None,
        created_at=moment(record.get("created_time")),
        messages=kept,
        lost=len(messages) - len(kept),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
