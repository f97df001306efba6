"""Answers whose process is gone: finished by another one, or closed with the text that there is."""

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.composing import RECALLED_MESSAGES, ComposeRequest
from llm_backend.application.composing_responses import ComposeResponse
from llm_backend.application.heartbeat import Heartbeat
from llm_backend.application.metering import shares_of
from llm_backend.application.ports.answer_journal import AnswerJournal, NumberedEvent, Part
from llm_backend.application.ports.answer_leases import AnswerLeases, OpenAnswer
from llm_backend.application.ports.chat_model import ChatRequest
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.application.ports.views import ConversationViews
from llm_backend.application.repeating import repeated
from llm_backend.application.usage import RecordUsage
from llm_backend.application.writing import REASONS
from llm_backend.domain.answers import INTERRUPTED, INTERRUPTION_GAP, STOPPED, Continued, Delta, Failed
from llm_backend.domain.api_keys import Access
from llm_backend.domain.citations import cited
from llm_backend.domain.conversations import Message, MessageState, Role
from llm_backend.domain.errors import DomainError, StorageFull, Unavailable
from llm_backend.domain.ids import AnswerId
from llm_backend.domain.outputs import items_of
from llm_backend.domain.usage import UsageKind

logger = logging.getLogger(__name__)

# An answer at which one process after the other dies is perhaps what they die of. Those that were handed over in an
# orderly way count as well, as in a deployment, and so do attempts that a database cut off.
MOST_TAKEOVERS = 10


@dataclass(frozen=True, slots=True)
class TakeOverAnswers:
    """Take what dead processes were writing, and what living ones let go of, and see it to its end.

    With `finishing` a model goes on from the stored text; without, as when it may not be finished, the answer is
    closed as incomplete.
    """

    journal: AnswerJournal
    leases: AnswerLeases
    log: StreamLog
    runner: AnswerRunner
    heartbeat: Heartbeat
    conversations: ConversationViews
    compose: ComposeRequest
    compose_response: ComposeResponse
    now: Clock
    record: RecordUsage
    finishing: bool = False

    async def __call__(self) -> int:
        """Return how many were taken."""
        orphans = [found for found in await self.leases.open_answers() if self._is_orphan(found)]
        taken = [orphan for orphan in orphans if await self._try_to_take(orphan)]
        if not orphans:
            await self.heartbeat.bury()
        return len(taken)

    async def _try_to_take(self, orphan: OpenAnswer) -> bool:
        """One that cannot be taken must not keep the others from it."""
        try:
            return await self._take(orphan)
        except (Unavailable, StorageFull) as error:
            logger.warning("taking over was put off: %s", error.code, extra={"answer": orphan.answer.id})
        except Exception:
            logger.exception("taking over failed", extra={"answer": orphan.answer.id})
        return False

    def regularly(self, every: timedelta) -> AbstractAsyncContextManager[None]:
        """Once at the start of the block, then again and again until its end."""
        return repeated(self._try, every, name="taking over")

    async def _try(self) -> None:
        try:
            await self()
        except (Unavailable, StorageFull) as error:
            logger.warning("taking over was put off: %s", error.code)
        except Exception:
            logger.exception("taking over failed")

    def _is_orphan(self, found: OpenAnswer) -> bool:
        """Also what this process took, and then could not begin with."""
        if self.runner.is_writing(found.answer.id):
            return False
        return found.writer is None or found.writer == self.leases.me or self.heartbeat.is_dead(found.writer)

    def _last_beat(self, orphan: OpenAnswer) -> int | None:
        """What has to be the last sign of life of a process still, for it to be as dead as it seemed."""
        is_mine = orphan.writer == self.leases.me
        return None if orphan.writer is None or is_mine else self.heartbeat.last_beat(orphan.writer)

    async def _take(self, orphan: OpenAnswer) -> bool:
        answer = orphan.answer.id
        if self.runner.is_closing or self.runner.is_writing(answer):
            return False
        takeovers = await self.leases.take_over(answer, orphan.writer, last_beat=self._last_beat(orphan))
        if takeovers is None:
            return False
        events = await self._all_events(answer)
        calls = items_of(event for _, event in events)  # which nobody can go on with
        asked = None if calls else await self._request(orphan)
        after = (events[-1][0] if events else 0) + takeovers * INTERRUPTION_GAP - 1
        if asked is None:
            return await self._close(orphan, events, after)
        request = replace(asked.request, so_far=_text(events))
        taken = self.runner.take_up(
            orphan.answer, request, events, orphan.grounding, after=after, kind=asked.kind, key=orphan.key
        )
        if not taken:
            await self.leases.release(answer)
            return False
        logger.info("an answer goes on in another process", extra={"answer": answer})
        return True

    async def _all_events(self, answer: AnswerId) -> Sequence[NumberedEvent]:
        """What is stored, and what readers have seen beyond that, which is stored now."""
        stored = await self.journal.events(answer)
        last = stored[-1][0] if stored else 0
        seen = [event for event in await self.log.tail(answer, after=last) if isinstance(event[1], Delta)]
        await self.journal.checkpoint(
            [Part(answer, run[0][0], [event for _, event in run]) for run in _without_gaps(seen)]
        )
        return [*stored, *seen]

    async def _request(self, orphan: OpenAnswer) -> "_Asked | None":
        """None when nobody shall or can go on."""
        if not self.finishing or orphan.wanted_to_stop or orphan.takeovers >= MOST_TAKEOVERS:
            return None
        try:
            return await self._composed(orphan)
        except (Unavailable, StorageFull):
            raise
        except DomainError as error:
            logger.warning("an answer cannot be finished: %s", error.code, extra={"answer": orphan.answer.id})
            return None

    async def _composed(self, orphan: OpenAnswer) -> "_Asked":
        """Once more what the model was asked."""
        answer = orphan.answer
        if request := await self.compose_response.again(answer, orphan.grounding):
            return _Asked(request, UsageKind.RESPONSE)
        thread = await self.conversations.thread(answer.owner, answer.conversation, limit=RECALLED_MESSAGES + 1)
        *past, question = thread.messages
        return _Asked(self.compose(thread.conversation, past, question, orphan.grounding), UsageKind.ANSWER)

    async def _close(self, orphan: OpenAnswer, events: Sequence[NumberedEvent], after: int) -> bool:
        reason = STOPPED if orphan.wanted_to_stop else INTERRUPTED
        text = _text(events)
        message = Message(
            number=orphan.answer.number,
            role=Role.ASSISTANT,
            text=text,
            state=MessageState.INCOMPLETE,
            reason=reason,
            model=orphan.model,
            citations=cited(text, orphan.grounding.sources) if orphan.grounding else (),
            seams=tuple(event.seam for _, event in events if isinstance(event, Continued)),
            items=items_of(event for _, event in events),
            created_at=self.now(),
        )
        ending = [Failed(reason, REASONS[reason])]
        asked = await self._charged(orphan)
        if not await self.journal.finish(orphan.answer.id, after + 1, ending, message):
            return False
        shares = shares_of(asked.request, text, message.seams, items=message.items)
        access = Access(user=orphan.answer.owner, key=orphan.key)
        self.record.shares(access, asked.kind, shares, conversation=orphan.answer.conversation)
        return True

    async def _charged(self, orphan: OpenAnswer) -> "_Asked":
        """What those were asked who are gone; nothing, where nobody can tell any more."""
        try:
            return await self._composed(orphan)
        except (Unavailable, StorageFull):
            raise
        except DomainError:
            return _Asked(ChatRequest(model=orphan.model, turns=()), UsageKind.ANSWER)


class _Asked(NamedTuple):
    """What a model was asked, and as what its answer is charged."""

    request: ChatRequest
    kind: UsageKind


def _without_gaps(events: Sequence[NumberedEvent]) -> list[list[NumberedEvent]]:
    """Runs of events whose numbers rise by one: what several processes wrote, one after the other."""
    runs: list[list[NumberedEvent]] = []
    for event in events:
        if runs and event[0] == runs[-1][-1][0] + 1:
            runs[-1].append(event)
        else:
            runs.append([event])
    return runs


def _text(events: Sequence[NumberedEvent]) -> str:
    return "".join(event.text for _, event in events if isinstance(event, Delta))
