"""Answers: ask, follow, find again, and stop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.composing import RECALLED_MESSAGES, ComposeRequest
from llm_backend.application.grounding import GroundAnswer, NoteFiles
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.ports.answer_journal import AnswerJournal, NumberedEvent, Turn
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.ports.stop_signals import StopSignals
from llm_backend.application.ports.stream_log import LogReader, StreamLog
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews
from llm_backend.application.sourcing import DocumentSearch, FindSources
from llm_backend.domain.answers import (
    Answer,
    AnswerState,
    is_last,
)
from llm_backend.domain.errors import AnswerNotFound, InvalidMessage, NothingRelevant, TooManyStreams, Unavailable
from llm_backend.domain.ids import AnswerId, ConversationId, KnowledgeBaseId, UserId
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.text import is_storable

RECALLED_FOR_SEARCH = 8  # messages that tell what a question to a knowledge base refers to


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Store a question and start answering it. The answer goes on whoever listens."""

    conversations: ConversationViews
    journal: AnswerJournal
    runner: AnswerRunner
    compose: ComposeRequest
    ids: IdSource
    now: Clock
    streams_per_user: int | None = None

    async def __call__(
        self,
        owner: UserId,
        conversation_id: ConversationId,
        text: str,
        *,
        idempotency: IdempotencyKey | None = None,
        grounding: Grounding | None = None,
    ) -> AnswerId:
        """The answer to follow. The same key gives the same answer.

        Raises `ShuttingDown`, `IdempotencyMismatch`, `ConversationNotFound`, `InvalidMessage`, `UnknownModel`,
        `ApiKeyRequired`, `ApiKeyUnreadable`, `MessageTooLong`, `TooManyStreams` or `AnswerInProgress`. What a model
        fails by is no error here but the last event.
        """
        self.runner.check_open()
        if idempotency and (earlier := await self.journal.answer_for(owner, idempotency)):
            return earlier
        thread = await self.conversations.thread(owner, conversation_id, limit=RECALLED_MESSAGES)
        conversation = thread.conversation
        question = conversation.ask(text, at=self.now())
        request = self.compose(conversation, thread.messages, question, grounding)
        if self.streams_per_user is not None and self.runner.count(owner) >= self.streams_per_user:
            raise TooManyStreams
        answer = Answer(
            id=AnswerId(self.ids.number()),
            owner=owner,
            conversation=conversation_id,
            number=question.number + 1,
        )
        turn = Turn(
            question=question,
            answer=answer,
            started_at=question.created_at,
            idempotency=idempotency,
            grounding=grounding,
        )
        return await self.runner.begin(turn, request)


@dataclass(frozen=True, slots=True)
class AskKnowledgeBase:
    """Ask with what a knowledge base says about it. The question is stored as typed; passages never are."""

    conversations: ConversationViews
    knowledge: KnowledgeViews
    find: FindSources
    journal: AnswerJournal
    send: SendMessage
    ground: GroundAnswer
    note_files: NoteFiles
    answer_without_passages: bool = False

    async def __call__(
        self,
        owner: UserId,
        conversation: ConversationId,
        knowledge_base: KnowledgeBaseId,
        text: str,
        *,
        top_k: int = 5,
        idempotency: IdempotencyKey | None = None,
    ) -> AnswerId:
        """The answer to follow, from at most `top_k` (1 to 100) passages. The same key gives the same answer.

        Raises `IdempotencyMismatch`, `ConversationNotFound`, `KnowledgeBaseNotFound`, `InvalidMessage`,
        `VectorStoreExpired`, `InvalidQuery`, `IndexUnavailable`, `NothingRelevant` unless it is to be answered without
        passages, and what `SendMessage` does.
        """
        if idempotency and (earlier := await self.journal.answer_for(owner, idempotency)):
            return earlier
        thread = await self.conversations.thread(owner, conversation, limit=RECALLED_FOR_SEARCH)
        await self.knowledge.knowledge_base(owner, knowledge_base)
        if not text.strip() or not is_storable(text):
            raise InvalidMessage
        window = self.send.compose.model.window(thread.conversation.model)
        budget = self.ground.budget(text, window)
        search = DocumentSearch(knowledge_bases=[knowledge_base], limit=top_k)
        material = await self.find(owner, search, thread, text, budget=budget)
        if not material.passages and not self.answer_without_passages:
            raise NothingRelevant
        grounding = None
        if material.passages:
            grounding = await self.ground(owner, material, question=text, window=window)
            grounding = await self.note_files(owner, material, grounding)
        return await self.send(owner, conversation, text, idempotency=idempotency, grounding=grounding)


@dataclass(frozen=True, slots=True)
class FindAnswer:
    """The answer to follow in a conversation: a given one, or the running or last one."""

    journal: AnswerJournal

    async def __call__(
        self, owner: UserId, conversation: ConversationId, answer: AnswerId | None = None
    ) -> Answer | None:
        """None when the conversation has no such answer. Raises `ConversationNotFound`."""
        latest = await self.journal.latest(owner, conversation)
        if latest is None or answer is None or answer == latest.id:
            return latest
        try:
            found = await self.journal.find(owner, answer)
        except AnswerNotFound:
            return None
        return found if found.conversation == conversation else None


@dataclass(frozen=True, slots=True)
class FollowAnswer:
    """The events of an answer: what is there, then what comes, to the end. First delivery and resume are the same.

    Wherever the answer is written: what the log does not have comes from the journal.
    """

    journal: AnswerJournal
    log: StreamLog
    runner: AnswerRunner
    poll_every: timedelta = timedelta(seconds=0.3)  # how often the journal is asked while the log knows nothing
    patience: timedelta = timedelta(seconds=60)  # with a database that is away meanwhile

    async def __call__(
        self, owner: UserId, answer: AnswerId, *, after: int = 0
    ) -> AsyncIterator[Sequence[NumberedEvent]]:
        """Batches of all events after number `after` that are there at the moment, each event exactly once.

        Wherever the answer is written: what the log does not have comes from the journal. Ends without a word when
        nothing is left. Raises `AnswerNotFound` at the first step, and `Unavailable` or `StorageFull` when the end
        cannot be stored for now: whoever comes back later for what is after the last event misses nothing.
        """
        await self._check(owner, answer)
        place = _Place(max(after, 0))
        while not place.is_last:
            try:
                async with aclosing(self.log.follow(answer, after=place.look_after)) as batches:  # type: ignore[type-var]
                    async for batch in batches:
                        yield batch
                        place.pass_by(batch)
            except AnswerNotFound:
                pass  # or no more of it
            self._heed_trouble(answer)
            if stored := await self._stored(owner, answer, place):
                yield stored

    async def push(self, owner: UserId, answer: AnswerId, reader: LogReader) -> None:
        """The same for a reader that is called with each batch, right when it is written.

        Returns when nothing is left, or when the reader wants no more for now. Raises the same.
        """
        await self._check(owner, answer)
        place = _Place(reader.after)
        while not place.is_last:
            try:
                if await self.log.push(answer, reader, after=place.look_after):
                    return
            except AnswerNotFound:
                pass
            place.last = reader.after
            self._heed_trouble(answer)
            if (stored := await self._stored(owner, answer, place)) and reader.take(stored):
                return

    async def _check(self, owner: UserId, answer: AnswerId) -> None:
        if self.runner.owner_of(answer) != owner:
            await self.journal.find(owner, answer)

    def _heed_trouble(self, answer: AnswerId) -> None:
        if trouble := self.runner.trouble_with(answer):
            raise trouble.with_traceback(None)  # that of each reader before would be in it

    async def _stored(self, owner: UserId, answer: AnswerId, place: "_Place") -> Sequence[NumberedEvent]:
        """What the journal has after that place, which moves on; after a while, if there is no use in hurrying."""
        if place.is_last:
            return ()
        start = await self.log.starts_after(answer)  # before the journal is read, which then has all up to there
        try:
            stored = await self.journal.events(answer, after=place.last)
            still_running = await self._is_running(owner, answer)
        except Unavailable:
            place.misses += 1
            if place.misses * self.poll_every > self.patience:
                raise
            await asyncio.sleep(self.poll_every.total_seconds())
            return ()
        place.misses = 0
        if stored:
            place.pass_by(stored)
        if not place.is_last:
            was_running, place.is_running = place.is_running, still_running
            place.is_last = not was_running
            if place.is_running and not stored and place.look_after >= start:
                await asyncio.sleep(self.poll_every.total_seconds())
        place.look_after = max(place.last, start)
        return stored

    async def _is_running(self, owner: UserId, answer: AnswerId) -> bool:
        try:
            return (await self.journal.find(owner, answer)).state is AnswerState.RUNNING
        except AnswerNotFound:
            return False


@dataclass(slots=True)
class _Place:
    """How far a reader is. The log is asked for what comes after `look_after`, which may be further on than `last`:
    a log that was opened later has nothing before that."""

    last: int
    look_after: int = field(init=False)
    is_running: bool = True
    misses: int = 0  # looks at the journal in a row that failed
    is_last: bool = False

    def __post_init__(self) -> None:
        self.look_after = self.last

    def pass_by(self, batch: Sequence[NumberedEvent]) -> None:
        self.last = batch[-1][0]
        self.is_last = is_last(batch[-1][1])


@dataclass(frozen=True, slots=True)
class StopAnswer:
    """End the running answer of a conversation where it is; its text is kept, marked as incomplete."""

    journal: AnswerJournal
    leases: AnswerLeases
    runner: AnswerRunner
    signals: StopSignals
    poll_every: timedelta = timedelta(seconds=0.1)
    patience: timedelta = timedelta(seconds=5)  # for a process elsewhere that writes it

    async def __call__(self, owner: UserId, conversation: ConversationId) -> bool:
        """Whether an answer was running. Raises `ConversationNotFound`.

        Waits until its text is stored; but not for ever for another process, which may have died. Whoever takes the
        answer over then stops it.
        """
        latest = await self.journal.latest(owner, conversation)
        return latest is not None and await self.one(latest)

    async def one(self, answer: Answer) -> bool:
        """The same for an answer as it was found."""
        if await self.runner.stop(answer.id):
            return True
        if answer.state is AnswerState.RUNNING:
            await self.leases.want_stop(answer.id)
            await self.signals.publish(answer.id)
            await self._end_of(answer.owner, answer.id)
        return answer.state is AnswerState.RUNNING

    async def _end_of(self, owner: UserId, answer: AnswerId) -> None:
        with suppress(TimeoutError, AnswerNotFound):
            async with asyncio.timeout(self.patience.total_seconds()):
                while (await self.journal.find(owner, answer)).state is AnswerState.RUNNING:  # noqa: ASYNC110 - elsewhere
                    await asyncio.sleep(self.poll_every.total_seconds())


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more questions and documents, and return when every running answer and job has ended or its grace is
    over; all are stored."""

    runner: AnswerRunner
    in_passing: AnswerRunner
    jobs: JobRunner

    async def __call__(self) -> None:
        await asyncio.gather(self.runner.drain(), self.in_passing.drain(), self.jobs.drain())
