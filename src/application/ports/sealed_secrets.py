"""The stored secrets of everybody, for sealing them anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.secrets import SealedSecret


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """The API key of a conversation, as it is stored."""

    owner: UserId
    conversation: ConversationId
    secret: SealedSecret


class SealedSecrets(Protocol):
    """Knows no owner, and so serves no user: secrets are moved here from key to key without being read."""

    async def count_by_key(self) -> Mapping[str, int]:
        """How many secrets there are under each key id that has any."""

    async def sealed_otherwise(
        self, key_id: str, *, after: ConversationId | None, limit: int
    ) -> Sequence[StoredSecret]:
        """Secrets under any other key, by ascending id of their conversation, beginning after one."""

    async def replace(self, changes: Sequence[tuple[StoredSecret, SealedSecret]]) -> None:
        """Store what stands second for what stands first, all together and durably.

        What has meanwhile been deleted or sealed anew by somebody else stays as it is.
        """
