"""What has been taken over from the old product."""

from typing import Protocol

from llm_backend.domain.ids import ConversationId


class TakenOver(Protocol):
    """The conversations that came from the old product, by their ids here. They stay noted when they are deleted, so
    that nobody takes them over again."""

    async def has(self, conversation: ConversationId) -> bool:
        """Whether it came from there, and is here or has been deleted."""

    async def note(self, conversation: ConversationId) -> None:
        """Nothing happens when it has been noted."""
