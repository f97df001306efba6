"""A cache in memory."""

import time
from collections.abc import Callable
from datetime import timedelta

ENTRY_BYTES = 200  # key and bookkeeping


class MemoryCache:
    """Keeps at most `limit` bytes; what was used longest ago goes first."""

    def __init__(self, limit: int = 32 * 1024 * 1024, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._entries: dict[str, tuple[bytes, float]] = {}  # in the order of use
        self._bytes = 0

    async def get(self, key: str) -> bytes | None:
        entry = self._pop(key)
        if entry is None or entry[1] <= self._monotonic():
            return None
        self._put(key, *entry)
        return entry[0]

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        self._pop(key)
        if ttl > timedelta(0) and _size(value) <= self._limit:
            self._put(key, value, self._monotonic() + ttl.total_seconds())
        while self._bytes > self._limit:
            self._pop(next(iter(self._entries)))

    async def delete(self, key: str) -> None:
        self._pop(key)

    def _put(self, key: str, value: bytes, until: float) -> None:
        self._entries[key] = (value, until)
        self._bytes += _size(value)

    def _pop(self, key: str) -> tuple[bytes, float] | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(entry[0])
        return entry


def _size(value: bytes) -> int:
    return len(value) + ENTRY_BYTES
