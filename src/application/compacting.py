"""Putting what was said into fewer words, so that a conversation fits into the model's window again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.application.ports.chat_model import ChatModel
from llm_backend.application.responses import PrepareResponse, WantedResponse
from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import UpstreamProtocolError
from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.domain.items import Said, Speaker, Summary

SUMMARISE = """\
Summarise the conversation so far for whoever goes on with it without having read it. Keep every fact, name, number, \
decision, preference and open question, what was asked last, and what came of each call of a function. Write in the \
language of the conversation, as densely as you can, and nothing but the summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """A summary that stands for all that it was made of. It has an id and is stored nowhere."""

    id: AnswerId
    summary: Summary
    usage: TokenUsage | None
    at: datetime


@dataclass(frozen=True, slots=True)
class CompactResponse:
    """Ask the model to sum up what a response would build upon."""

    prepare: PrepareResponse
    model: ChatModel

    async def __call__(self, owner: UserId, wanted: WantedResponse) -> Compaction:
        """Raises what `PrepareResponse` does, or an `UpstreamFailed`."""
        wanted = replace(wanted, items=[*wanted.items, Said.plain(Speaker.USER, SUMMARISE)], search=None)
        prepared = await self.prepare(owner, wanted)
        pieces: list[str] = []

        def emit(deltas: Sequence[Delta]) -> None:
            pieces.extend(delta.text for delta in deltas)

        completion = await self.model.answer(replace(prepared.prompt, options={}), emit)
        if not (text := "".join(pieces).strip()):
            raise UpstreamProtocolError
        return Compaction(
            id=AnswerId(self.prepare.ids.number()),
            summary=Summary(text),
            usage=completion.usage,
            at=self.prepare.now(),
        )
