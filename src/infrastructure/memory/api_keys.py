"""API keys in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.domain.api_keys import ApiKey
from llm_backend.domain.errors import ApiKeyNotFound
from llm_backend.domain.ids import ApiKeyId, UserId
from llm_backend.infrastructure.memory.tables import Place


@dataclass(frozen=True, slots=True)
class MemoryApiKeys:
    """Keys by id."""

    place: Place

    async def add(self, key: ApiKey) -> None:
        self.place.tables.api_keys[key.id] = key

    async def get(self, owner: UserId, key: ApiKeyId) -> ApiKey:
        found = self.place.tables.api_keys.get(key)
        if found is None or found.owner != owner:
            raise ApiKeyNotFound
        return found

    async def count(self, owner: UserId) -> int:
        return sum(key.owner == owner for key in self.place.tables.api_keys.values())

    async def remove(self, owner: UserId, key: ApiKeyId) -> None:
        await self.get(owner, key)
        del self.place.tables.api_keys[key]

    async def remove_all(self, owner: UserId) -> None:
        keys = self.place.tables.api_keys
        for key in [key.id for key in keys.values() if key.owner == owner]:
            del keys[key]

    async def note_uses(self, uses: Sequence[tuple[ApiKeyId, datetime]]) -> None:
        keys = self.place.tables.api_keys
        for key, at in uses:
            if key in keys:
                keys[key] = replace(keys[key], last_used_at=at)


@dataclass(frozen=True, slots=True)
class MemoryApiKeyViews:
    """Keys, looked through one by one."""

    place: Place

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        return next((key for key in self.place.tables.api_keys.values() if key.digest == digest), None)

    async def of(self, owner: UserId) -> Sequence[ApiKey]:
        return [key for key in reversed(self.place.tables.api_keys.values()) if key.owner == owner]
