"""What has been taken over from the old product, in memory."""

from dataclasses import dataclass

from llm_backend.domain.ids import ConversationId
from llm_backend.infrastructure.memory.tables import Place


@dataclass(frozen=True, slots=True)
class MemoryTakenOver:
    """`TakenOver`."""

    place: Place

    async def has(self, conversation: ConversationId) -> bool:
        return conversation in self.place.tables.taken_over

    async def note(self, conversation: ConversationId) -> None:
        self.place.tables.taken_over[conversation] = None
