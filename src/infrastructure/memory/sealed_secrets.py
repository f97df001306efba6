"""Secrets on their way from key to key, in memory."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from llm_backend.application.ports.sealed_secrets import StoredSecret
from llm_backend.domain.ids import ConversationId
from llm_backend.domain.secrets import SealedSecret
from llm_backend.infrastructure.memory.tables import Committed


@dataclass(frozen=True, slots=True)
class MemorySealedSecrets:
    """The API keys of conversations."""

    place: Committed

    async def count_by_key(self) -> Mapping[str, int]:
        return Counter(stored.secret.key_id for stored in self._all())

    async def sealed_otherwise(
        self, key_id: str, *, after: ConversationId | None, limit: int
    ) -> Sequence[StoredSecret]:
        found = [one for one in self._all() if one.secret.key_id != key_id and one.conversation > (after or 0)]
        return sorted(found, key=lambda stored: stored.conversation)[:limit]

    async def replace(self, changes: Sequence[tuple[StoredSecret, SealedSecret]]) -> None:
        async with self.place.lock:
            conversations = self.place.tables.conversations
            for stored, new in changes:
                found = conversations.get(stored.conversation)
                if found and (found.owner, found.api_key) == (stored.owner, stored.secret):
                    conversations[found.id] = replace(found, api_key=new)

    def _all(self) -> Iterator[StoredSecret]:
        for one in self.place.tables.conversations.values():
            if one.api_key is not None:
                yield StoredSecret(owner=one.owner, conversation=one.id, secret=one.api_key)
