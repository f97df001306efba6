"""Putting what was said into fewer words, so that a conversation fits into the model's window again."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from llm_backend.application.asking_apart import AskApart
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.responses import PrepareResponse, WantedResponse
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import UpstreamProtocolError
from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.domain.items import Said, Speaker, Summary
from llm_backend.domain.usage import UsageKind

SUMMARISE = """\
Summarise the conversation so far for whoever goes on with it without having read it. Keep every fact, name, number, \
decision, preference and open question, what was asked last, and what came of each call of a function. Write in the \
language of the conversation, as densely as you can, and nothing but the summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """A summary that stands for all that it was made of. It has an id, and is stored nowhere but under the idempotency
    key of its request, for as long as that is known."""

    id: AnswerId
    summary: Summary
    usage: TokenUsage | None
    at: datetime


@dataclass(frozen=True, slots=True)
class CompactResponse:
    """Ask the model to sum up what a response would build upon."""

    prepare: PrepareResponse
    ask: AskApart
    transactions: UnitOfWorkFactory

    async def __call__(
        self, access: Access, wanted: WantedResponse, *, idempotency: IdempotencyKey | None = None
    ) -> Compaction:
        """The same key gives the same summary. Raises what `PrepareResponse` does, `IdempotencyMismatch`, or an
        `UpstreamFailed`."""
        if idempotency and (before := await self._outcome(access.user, idempotency)):
            return _recalled(before)
        made = await self._made(access, wanted)
        return await self._noted(access.user, made, idempotency) if idempotency else made

    async def _noted(self, owner: UserId, made: Compaction, idempotency: IdempotencyKey) -> Compaction:
        """Or that of the same request, if it was faster."""
        with suppress(AlreadyRecorded):
            async with self.transactions() as work:
                if await work.idempotency.outcome(owner, idempotency):
                    raise AlreadyRecorded
                await work.idempotency.record(owner, idempotency, _note_of(made), at=made.at)
                await work.commit()
            return made
        before = await self._outcome(owner, idempotency)
        return _recalled(before) if before else made

    async def _outcome(self, owner: UserId, idempotency: IdempotencyKey) -> str | None:
        async with self.transactions() as work:
            return await work.idempotency.outcome(owner, idempotency)

    async def _made(self, access: Access, wanted: WantedResponse) -> Compaction:
        wanted = replace(wanted, items=[*wanted.items, Said.plain(Speaker.USER, SUMMARISE)], search=None)
        prepared = await self.prepare(access.user, wanted)
        text, usage = await self.ask(access, UsageKind.RESPONSE, replace(prepared.prompt, options={}))
        if not text.strip():
            raise UpstreamProtocolError
        return Compaction(
            id=AnswerId(self.prepare.ids.number()),
            summary=Summary(text.strip()),
            usage=usage,
            at=self.prepare.now(),
        )


def _note_of(made: Compaction) -> str:
    """A line of figures, and the summary."""
    usage = made.usage
    counted = [usage.prompt, usage.completion, usage.cached, usage.reasoning] if usage else []
    figures = [made.id, int(made.at.timestamp()), *counted]
    return f"{' '.join(map(str, figures))}\n{made.summary.text}"


def _recalled(note: str) -> Compaction:
    figures, text = note.split("\n", 1)
    number, at, *counted = map(int, figures.split())
    return Compaction(
        id=AnswerId(number), summary=Summary(text), usage=_usage_of(counted), at=datetime.fromtimestamp(at, UTC)
    )


def _usage_of(counted: Sequence[int]) -> TokenUsage | None:
    """Notes of the version before have two figures, and those of a later one may have more."""
    if not counted:
        return None
    prompt, completion, cached, reasoning = [*counted, 0, 0][:4]
    return TokenUsage(prompt=prompt, completion=completion, cached=cached, reasoning=reasoning)
