"""Questions to a model that are no part of a conversation: for a better query, or for a summary."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.metering import shares_of
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest
from llm_backend.application.usage import RecordUsage
from llm_backend.domain.answers import LONGEST_ANSWER, Continued, Delta
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import Seam, TokenUsage
from llm_backend.domain.errors import AnswerTooLong
from llm_backend.domain.ids import ConversationId
from llm_backend.domain.usage import UsageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class AskApart:
    """Ask a model, read its answer as a whole, and charge it, whatever becomes of it."""

    model: ChatModel
    record: RecordUsage

    async def __call__(
        self,
        access: Access,
        kind: UsageKind,
        request: ChatRequest,
        *,
        conversation: ConversationId | None = None,
        longest: int = LONGEST_ANSWER,
    ) -> tuple[str, TokenUsage | None]:
        """The text, and what its server counted. Raises `AnswerTooLong` beyond `longest` characters, and whatever the
        model raises."""
        pieces: list[str] = []
        seams: list[Seam] = []
        length = 0
        counted = None

        def take(deltas: Sequence[Delta]) -> None:
            nonlocal length
            for delta in deltas:
                pieces.append(delta.text)
                length += len(delta.text)
                if isinstance(delta, Continued):
                    seams.append(delta.seam)
            if length > longest:
                raise AnswerTooLong

        try:
            counted = (await self.model.answer(request, take)).usage
        finally:
            shares = shares_of(request, "".join(pieces), seams, counted)
            self.record.shares(access, kind, shares, conversation=conversation)
        return "".join(pieces), counted
