"""Answers: ask, follow, find again, stop, and close what a dead process left open."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from llm_backend.application.answer_runner import REASONS, AnswerRunner
from llm_backend.application.conversations import key_binding
from llm_backend.application.grounding import GroundAnswer, Grounding
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.ports.answer_journal import AnswerJournal, NumberedEvent, Turn
from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.ports.secret_box import SecretBox, SecretUnreadable
from llm_backend.application.ports.stream_log import LogReader, StreamLog
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews
from llm_backend.application.retrieval import LONGEST_QUERY, Retrieve
from llm_backend.domain.answers import (
    INTERRUPTED,
    INTERRUPTION_GAP,
    Answer,
    AnswerState,
    Delta,
    Failed,
)
from llm_backend.domain.conversations import Conversation, Message, MessageState, Role
from llm_backend.domain.errors import AnswerNotFound, ApiKeyUnreadable, InvalidMessage, NothingRelevant, TooManyStreams
from llm_backend.domain.ids import AnswerId, ConversationId, KnowledgeBaseId, UserId
from llm_backend.domain.secrets import Secret
from llm_backend.domain.text import is_storable
from llm_backend.domain.window import estimated_tokens, fitting

RECALLED_MESSAGES = 200  # how far back a prompt reaches at most, whatever the model's window


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Store a question and start answering it. The answer goes on whoever listens."""

    conversations: ConversationViews
    journal: AnswerJournal
    runner: AnswerRunner
    model: ChatModel
    secrets: SecretBox
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
        self.runner.check_open()
        if idempotency and (earlier := await self.journal.answer_for(owner, idempotency)):
            return earlier
        thread = await self.conversations.thread(owner, conversation_id, limit=RECALLED_MESSAGES)
        conversation = thread.conversation
        question = conversation.ask(text, at=self.now())
        request = self._request(conversation, thread.messages, question, grounding)
        if self.streams_per_user is not None and self.runner.count(owner) >= self.streams_per_user:
            raise TooManyStreams
        answer = Answer(
            id=AnswerId(self.ids.number()),
            owner=owner,
            conversation=conversation_id,
            number=question.number + 1,
        )
        turn = Turn(question=question, answer=answer, started_at=question.created_at, idempotency=idempotency)
        return await self.runner.begin(turn, request, grounding.sources if grounding else ())

    def _request(
        self, conversation: Conversation, past: Sequence[Message], question: Message, grounding: Grounding | None
    ) -> ChatRequest:
        self.model.check(conversation.model, own_key=conversation.api_key is not None)
        instructions = [ChatTurn(role=Role.SYSTEM, text=grounding.instructions)] if grounding else []
        taken = sum(estimated_tokens(turn.text) for turn in instructions)
        messages = fitting(past, question, window=self.model.window(conversation.model), taken=taken)
        turns = [*instructions, *(ChatTurn(role=message.role, text=message.text) for message in messages)]
        return ChatRequest(model=conversation.model, turns=turns, api_key=self._api_key(conversation))

    def _api_key(self, conversation: Conversation) -> Secret | None:
        if conversation.api_key is None:
            return None
        try:
            return self.secrets.open(conversation.api_key, bound_to=key_binding(conversation.owner, conversation.id))
        except SecretUnreadable as error:
            raise ApiKeyUnreadable from error


@dataclass(frozen=True, slots=True)
class AskKnowledgeBase:
    """Ask with what a knowledge base says about it. The question is stored as typed; passages never are."""

    conversations: ConversationViews
    knowledge: KnowledgeViews
    retrieve: Retrieve
    journal: AnswerJournal
    send: SendMessage
    ground: GroundAnswer
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
        if idempotency and (earlier := await self.journal.answer_for(owner, idempotency)):
            return earlier
        await self.conversations.thread(owner, conversation, limit=1)
        await self.knowledge.knowledge_base(owner, knowledge_base)
        if not text.strip() or not is_storable(text):
            raise InvalidMessage
        found = await self.retrieve(owner, knowledge_base, text[:LONGEST_QUERY], top_k=top_k)
        passages = found.passages if found.relevant else ()
        if not passages and not self.answer_without_passages:
            raise NothingRelevant
        grounding = await self.ground(owner, passages) if passages else None
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
    """The events of an answer: what is there, then what comes, to the end. First delivery and resume are the same."""

    journal: AnswerJournal
    log: StreamLog
    runner: AnswerRunner

    async def __call__(
        self, owner: UserId, answer: AnswerId, *, after: int = 0
    ) -> AsyncIterator[Sequence[NumberedEvent]]:
        """Batches of all events after number `after` that are there at the moment, each event exactly once.

        Ends without a word when nothing is left. Raises `AnswerNotFound` at the first step.
        """
        await self._check(owner, answer)
        last = after
        try:
            async with aclosing(self.log.follow(answer, after=after)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    yield batch
                    last = batch[-1][0]
        except AnswerNotFound:
            if stored := await self.journal.events(answer, after=last):
                yield stored

    async def push(self, owner: UserId, answer: AnswerId, reader: LogReader) -> None:
        """The same for a reader that is called with each batch, right when it is written.

        Returns at the end, or when the reader wants no more for now. Raises `AnswerNotFound`.
        """
        await self._check(owner, answer)
        try:
            await self.log.push(answer, reader)
        except AnswerNotFound:
            if stored := await self.journal.events(answer, after=reader.after):
                reader.take(stored)

    async def _check(self, owner: UserId, answer: AnswerId) -> None:
        if self.runner.owner_of(answer) != owner:
            await self.journal.find(owner, answer)


@dataclass(frozen=True, slots=True)
class StopAnswer:
    """End the running answer of a conversation where it is; its text is kept, marked as incomplete."""

    journal: AnswerJournal
    runner: AnswerRunner
    close_interrupted: "CloseInterruptedAnswers"

    async def __call__(self, owner: UserId, conversation: ConversationId) -> bool:
        """Whether an answer was running. Raises `ConversationNotFound`."""
        latest = await self.journal.latest(owner, conversation)
        if latest is None:
            return False
        if await self.runner.stop(latest.id):
            return True
        if latest.state is AnswerState.RUNNING:  # nobody is writing it any more
            await self.close_interrupted()
        return latest.state is AnswerState.RUNNING


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more questions and documents, and return when every running answer and job has ended or its grace is
    over; all are stored."""

    runner: AnswerRunner
    jobs: JobRunner

    async def __call__(self) -> None:
        await asyncio.gather(self.runner.drain(), self.jobs.drain())


@dataclass(frozen=True, slots=True)
class CloseInterruptedAnswers:
    """Close the answers that nobody is writing any more, with the text that was stored of them."""

    journal: AnswerJournal
    runner: AnswerRunner
    now: Clock

    async def __call__(self) -> int:
        """Return how many were closed."""
        closed = 0
        for answer, model in await self.journal.running():
            if not self.runner.is_writing(answer.id):
                closed += await self._close(answer, model)
        return closed

    async def _close(self, answer: Answer, model: str) -> bool:
        events = await self.journal.events(answer.id)
        last = events[-1][0] if events else 0
        message = Message(
            number=answer.number,
            role=Role.ASSISTANT,
            text="".join(event.text for _, event in events if isinstance(event, Delta)),
            state=MessageState.INCOMPLETE,
            reason=INTERRUPTED,
            model=model,
            created_at=self.now(),
        )
        ending = [Failed(INTERRUPTED, REASONS[INTERRUPTED])]
        return await self.journal.finish(answer.id, last + INTERRUPTION_GAP, ending, message)
