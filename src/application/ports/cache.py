"""Short-lived copies, shared by all replicas where they have a place to share them."""

from datetime import timedelta
from typing import Protocol


class Cache(Protocol):
    """Bytes by key, each for a limited time. It may forget anything at any time and never raises: a cache that
    cannot be reached is an empty one."""

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None: ...

    async def delete(self, key: str) -> None: ...
