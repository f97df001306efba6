"""The journal of answers in memory: for tests, as nothing in it survives anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.application.ports.answer_journal import NumberedEvent, Part, Turn
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.answers import Answer, AnswerEvent, AnswerState
from llm_backend.domain.conversations import Conversation, Message
from llm_backend.domain.errors import AnswerInProgress, AnswerNotFound
from llm_backend.domain.ids import AnswerId, ConversationId, UserId, WriterId
from llm_backend.infrastructure.memory.conversations import conversation_of
from llm_backend.infrastructure.memory.idempotency import outcome_of
from llm_backend.infrastructure.memory.tables import AnswerRow, Committed, Outcome, Tables


@dataclass(frozen=True, slots=True)
class MemoryAnswerJournal:
    """Writes at once into what everybody sees; each method looks first and then writes, without a wait between."""

    place: Committed
    me: WriterId

    async def begin(self, turn: Turn) -> AnswerId:
        async with self.place.lock:
            tables, owner = self.place.tables, turn.answer.owner
            conversation = turn.opens or conversation_of(tables, owner, turn.answer.conversation, unlisted=True)
            earlier = turn.idempotency and outcome_of(tables, owner, turn.idempotency)
            if earlier:
                return AnswerId(int(earlier))
            _check_it_is_its_turn(tables, conversation, turn.question)
            _begin(tables, turn, self.me)
            return turn.answer.id

    async def checkpoint(self, parts: Sequence[Part]) -> None:
        async with self.place.lock:
            for answer, first, events in parts:
                if self._held(answer):
                    _append_events(self.place.tables, answer, first, events)

    async def finish(self, answer: AnswerId, first: int, events: Sequence[AnswerEvent], message: Message) -> bool:
        async with self.place.lock:
            tables = self.place.tables
            row = self._held(answer)
            if row is None:
                return _has_ended_with(tables, answer, message)
            _append_events(tables, answer, first, events)
            _append_message(tables, row.answer.conversation, message)
            ended = replace(row.answer, state=AnswerState(message.state.value))
            tables.answers[answer] = replace(row, answer=ended, ended_at=message.created_at)
            return True

    async def withdraw(self, answer: AnswerId) -> None:
        async with self.place.lock:
            row = self._held(answer)
            if row is not None:
                _withdraw(self.place.tables, row)

    async def find(self, owner: UserId, answer: AnswerId) -> Answer:
        row = self.place.tables.answers.get(answer)
        if row is None or row.answer.owner != owner:
            raise AnswerNotFound
        return row.answer

    async def latest(self, owner: UserId, conversation: ConversationId) -> Answer | None:
        tables = self.place.tables
        conversation_of(tables, owner, conversation)
        newest_first = (row.answer for row in reversed(tables.answers.values()))
        return next((answer for answer in newest_first if answer.conversation == conversation), None)

    async def answer_for(self, owner: UserId, key: IdempotencyKey) -> AnswerId | None:
        outcome = outcome_of(self.place.tables, owner, key)
        return None if outcome is None else AnswerId(int(outcome))

    async def events(self, answer: AnswerId, *, after: int = 0) -> Sequence[NumberedEvent]:
        return [numbered for numbered in self.place.tables.events.get(answer, ()) if numbered[0] > after]

    async def forget_events_before(self, moment: datetime) -> int:
        async with self.place.lock:
            tables = self.place.tables
            rows = tables.answers.values()
            ended = {row.answer.id for row in rows if row.ended_at and row.ended_at < moment}
            with_events = ended & tables.events.keys()
            for answer in with_events:
                del tables.events[answer]
            return len(with_events)

    def _held(self, answer: AnswerId) -> AnswerRow | None:
        row = self.place.tables.answers.get(answer)
        return row if row is not None and row.ended_at is None and row.writer == self.me else None


def _check_it_is_its_turn(tables: Tables, conversation: Conversation, question: Message) -> None:
    rows = tables.answers.values()
    is_running = any(row.answer.conversation == conversation.id and row.ended_at is None for row in rows)
    if is_running or question.number != conversation.last_number + 1:
        raise AnswerInProgress


def _begin(tables: Tables, turn: Turn, me: WriterId) -> None:
    answer, key = turn.answer, turn.idempotency
    if turn.opens:
        tables.conversations[turn.opens.id] = turn.opens
        tables.number(turn.opens.id)
    _append_message(tables, answer.conversation, turn.question)
    tables.answers[answer.id] = AnswerRow(
        answer=answer,
        idempotency=key,
        grounding=turn.grounding,
        writer=me,
        response=turn.response,
        started_at=turn.started_at,
        key=turn.key,
    )
    if key is not None:
        outcome = Outcome(fingerprint=key.fingerprint, outcome=str(answer.id), at=turn.started_at)
        tables.idempotency[answer.owner, key.key] = outcome


def _withdraw(tables: Tables, row: AnswerRow) -> None:
    answer = row.answer
    del tables.answers[answer.id]
    tables.events.pop(answer.id, None)
    _take_back_message(tables, answer.conversation)
    if row.idempotency is not None:
        tables.idempotency.pop((answer.owner, row.idempotency.key), None)


def _has_ended_with(tables: Tables, answer: AnswerId, message: Message) -> bool:
    row = tables.answers.get(answer)
    return row is not None and message in tables.messages.get(row.answer.conversation, ())


def _append_events(tables: Tables, answer: AnswerId, first: int, events: Sequence[AnswerEvent]) -> None:
    if events:
        before = [numbered for numbered in tables.events.get(answer, ()) if numbered[0] < first]
        tables.events[answer] = (*before, *enumerate(events, first))


def _append_message(tables: Tables, conversation: ConversationId, message: Message) -> None:
    tables.messages[conversation] = (*tables.messages.get(conversation, ()), message)
    tables.conversations[conversation] = replace(tables.conversations[conversation], last_number=message.number)


def _take_back_message(tables: Tables, conversation: ConversationId) -> None:
    """The newest; and a conversation that was opened for it alone."""
    found = tables.conversations[conversation]
    tables.messages[conversation] = tables.messages[conversation][:-1]
    tables.conversations[conversation] = replace(found, last_number=found.last_number - 1)
    if not found.listed:
        del tables.conversations[conversation], tables.messages[conversation], tables.numbers[conversation]
