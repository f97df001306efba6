"""The answer journal over a `Writer`, which lets concurrent answers share commits, and a `Reader`.

What each method writes is a generator of queries, so that the same steps serve a driver that runs in a thread and one
that is awaited. Every step that could come too late asks for the state it needs in its own WHERE, and looks at how
many rows it changed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Insert,
    Integer,
    LargeBinary,
    Select,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    false,
    insert,
    select,
    true,
    update,
)

from llm_backend.application.ports.answer_journal import NumberedEvent, Part, Turn
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.answers import Answer, AnswerEvent
from llm_backend.domain.conversations import Message
from llm_backend.domain.errors import AnswerInProgress, AnswerNotFound, ConversationNotFound, IdempotencyMismatch
from llm_backend.domain.ids import AnswerId, ConversationId, UserId, WriterId
from llm_backend.domain.responses import ResponseRequest
from llm_backend.infrastructure.codec.events import decode_events, encode_events
from llm_backend.infrastructure.codec.items import request_value
from llm_backend.infrastructure.sql.dialects import TurnOfKey, UtcTime, upsert
from llm_backend.infrastructure.sql.mapping import (
    ANSWER_COLUMNS,
    CONVERSATION_COLUMNS,
    MESSAGE_COLUMNS,
    Values,
    answer_from,
    answer_values,
    conversation_values,
    message_values,
)
from llm_backend.infrastructure.sql.ports import Reader, Steps, Writer
from llm_backend.infrastructure.sql.rows import (
    RUNNING,
    answer_events,
    answers,
    conversations,
    idempotency_keys,
    messages,
    responses,
)
from llm_backend.infrastructure.sql.statements import Query, Repeated, Row

_ANSWER = bindparam("answer", type_=BigInteger)
_CONVERSATION = bindparam("conversation", type_=BigInteger)
_OWNER = bindparam("of", type_=BigInteger)
NUMBER = bindparam("question", type_=Integer)

_ME = bindparam("me", type_=Text)

_HELD_ONE = and_(answers.c.id == _ANSWER, answers.c.state == RUNNING, answers.c.writer == _ME)
_OWNED = and_(conversations.c.id == _CONVERSATION, conversations.c.owner == _OWNER)

# Beginning
_KEY = bindparam("name", type_=Text)
_TAKE_TURN = select(TurnOfKey(_OWNER, _KEY))
_RECORD = select(idempotency_keys.c.fingerprint, idempotency_keys.c.answer_id).where(
    idempotency_keys.c.owner == _OWNER, idempotency_keys.c.key == _KEY
)
TAKE_NUMBER = (
    update(conversations)
    .where(
        _OWNED,
        conversations.c.last_number == NUMBER - 1,
        ~exists().where(answers.c.conversation_id == _CONVERSATION, answers.c.state == RUNNING),
    )
    .values(last_number=NUMBER)
)
_IS_OWNED = select(conversations.c.id).where(_OWNED)
_IS_LISTED = _IS_OWNED.where(conversations.c.listed.is_(true()))
_OPEN_CONVERSATION = insert(conversations).values(  # all but `sequence`, which the database hands out
    {column.name: bindparam(f"own_{column.name}", type_=column.type) for column in CONVERSATION_COLUMNS}
)
_ADD_MESSAGE = insert(messages)
_ADD_ANSWER = insert(answers)
_ADD_RESPONSE = insert(responses)
_ADD_RECORD = insert(idempotency_keys)


# Going on and ending
EVENT_PARAMETERS = (
    bindparam("from", type_=BigInteger),
    bindparam("to", type_=BigInteger),
    bindparam("events", type_=LargeBinary),
)


def replacing_events(source: Select[*tuple[Any, ...]]) -> Insert:
    """Events whose checkpoint was stored, though the word of it was lost, come again under the same `first`."""
    added = upsert(answer_events).from_select(["answer_id", "first", "last", "payload"], source)
    replaced = {"last": added.excluded.last, "payload": added.excluded.payload}
    return added.on_conflict_do_update(index_elements=["answer_id", "first"], set_=replaced)


def _adding_events(where: ColumnElement[bool]) -> Insert:
    """The answer cannot end between the look at it and the insert: PostgreSQL, which lets others write meanwhile,
    holds it until the commit."""
    return replacing_events(select(answers.c.id, *EVENT_PARAMETERS).where(where).with_for_update(read=True))


_ADD_EVENTS = _adding_events(answers.c.id == _ANSWER)
_ADD_EVENTS_WHILE_HELD = _adding_events(_HELD_ONE)
END = (
    update(answers)
    .where(_HELD_ONE)
    .values(state=bindparam("ended_as", type_=Text), ended_at=bindparam("moment", type_=UtcTime))
)
_ADD_REPLY = insert(messages).from_select(
    ["conversation_id", *(column.name for column in MESSAGE_COLUMNS)],
    select(
        answers.c.conversation_id, *(bindparam(f"new_{column.name}", type_=column.type) for column in MESSAGE_COLUMNS)
    ).where(answers.c.id == _ANSWER),
)
_ENDED_WITH = (
    select(messages.c.text, answers.c.state)
    .join(answers, and_(answers.c.conversation_id == messages.c.conversation_id, answers.c.number == messages.c.number))
    .where(answers.c.id == _ANSWER)
)
_OF_ANSWER = select(answers.c.conversation_id).where(answers.c.id == _ANSWER).scalar_subquery()
# Conversation first, answer second, like those who delete: in the opposite order each could wait for the other.
HOLD_CONVERSATION = select(conversations.c.id).where(conversations.c.id == _OF_ANSWER).with_for_update(key_share=True)
_MOVE_ON = update(conversations).where(conversations.c.id == _OF_ANSWER).values(last_number=NUMBER)

# Withdrawing
_OF_RUNNING = select(answers.c.conversation_id).where(_HELD_ONE).scalar_subquery()
_QUESTION_OF_RUNNING = select(answers.c.number - 1).where(_HELD_ONE).scalar_subquery()
_DROP_QUESTION = delete(messages).where(
    messages.c.conversation_id == _OF_RUNNING, messages.c.number == _QUESTION_OF_RUNNING
)
_STEP_BACK = (
    update(conversations).where(conversations.c.id == _OF_RUNNING).values(last_number=conversations.c.last_number - 1)
)
_DROP_UNLISTED = delete(conversations).where(conversations.c.id == _OF_RUNNING, conversations.c.listed.is_(false()))
_DROP_ANSWER = delete(answers).where(_HELD_ONE)  # its events and its idempotency record go with it

# Looking
_FIND = (
    select(*ANSWER_COLUMNS)
    .join(conversations, conversations.c.id == answers.c.conversation_id)
    .where(answers.c.id == _ANSWER, conversations.c.owner == _OWNER)
)
_LATEST = (
    select(*ANSWER_COLUMNS)
    .join(conversations, conversations.c.id == answers.c.conversation_id)
    .where(answers.c.conversation_id == _CONVERSATION, conversations.c.owner == _OWNER)
    .order_by(answers.c.number.desc())
    .limit(1)
)
_EVENTS = (
    select(answer_events.c.first, answer_events.c.payload)
    .where(answer_events.c.answer_id == _ANSWER, answer_events.c.last > bindparam("after", type_=BigInteger))
    .order_by(answer_events.c.first)
)

# Forgetting. The search starts from the events, of which only the last day's are there, not from all answers; it reads,
# and only what it finds is deleted, a slice at a time, so that nobody who writes has to wait long.
FORGOTTEN_AT_ONCE = 200  # answers
_OUTDATED = (
    select(answer_events.c.answer_id)
    .distinct()
    .where(
        exists().where(
            answers.c.id == answer_events.c.answer_id, answers.c.ended_at < bindparam("moment", type_=UtcTime)
        )
    )
    .limit(FORGOTTEN_AT_ONCE)
)
_FORGET = delete(answer_events).where(answer_events.c.answer_id == _ANSWER)


class SqlAnswerJournal:
    """`AnswerJournal`."""

    def __init__(self, reader: Reader, writer: Writer, me: WriterId) -> None:
        self._me = me
        self._reader = reader
        self._writer = writer
        self._take_turn = writer.prepare(_TAKE_TURN)
        self._record = writer.prepare(_RECORD)
        self._take_number = writer.prepare(TAKE_NUMBER)
        self._is_owned = writer.prepare(_IS_OWNED)
        self._open_conversation = writer.prepare(_OPEN_CONVERSATION)
        self._add_message = writer.prepare(_ADD_MESSAGE)
        self._add_answer = writer.prepare(_ADD_ANSWER)
        self._add_response = writer.prepare(_ADD_RESPONSE)
        self._add_record = writer.prepare(_ADD_RECORD)
        self._add_events = writer.prepare(_ADD_EVENTS)
        self._add_events_while_held = writer.prepare(_ADD_EVENTS_WHILE_HELD)
        self._hold_conversation = writer.prepare(HOLD_CONVERSATION)
        self._end = writer.prepare(END)
        self._ended_with = writer.prepare(_ENDED_WITH)
        self._add_reply = writer.prepare(_ADD_REPLY)
        self._move_on = writer.prepare(_MOVE_ON)
        withdrawal = (HOLD_CONVERSATION, _DROP_QUESTION, _STEP_BACK, _DROP_UNLISTED, _DROP_ANSWER)
        self._withdrawal = [writer.prepare(step) for step in withdrawal]
        self._find = reader.prepare(_FIND)
        self._is_listed = reader.prepare(_IS_LISTED)
        self._latest = reader.prepare(_LATEST)
        self._events = reader.prepare(_EVENTS)
        self._outdated = reader.prepare(_OUTDATED)
        self._forget = writer.prepare(_FORGET)

    async def begin(self, turn: Turn) -> AnswerId:
        return await self._writer.write(lambda: self._beginning(turn))

    def _beginning(self, turn: Turn) -> Steps[AnswerId]:
        answer = turn.answer
        if turn.idempotency:
            key = {"of": answer.owner, "name": turn.idempotency.key}
            yield Query(self._take_turn, key)
            found = yield Query(self._record, key)
            if earlier := _outcome(found.rows, turn.idempotency):
                return earlier
        if turn.opens:
            own = {f"own_{name}": value for name, value in conversation_values(turn.opens).items()}
            yield Query(self._open_conversation, own)
        if not (yield from self._opening(turn)):
            found = yield Query(self._is_owned, {"of": answer.owner, "conversation": answer.conversation})
            raise AnswerInProgress if found.rows else ConversationNotFound
        if turn.response:
            yield Query(self._add_response, _response_values(turn.answer.id, turn.response))
        if turn.idempotency:
            yield Query(self._add_record, _record_values(turn, turn.idempotency))
        return answer.id

    def _opening(self, turn: Turn) -> Steps[bool]:
        """False, and nothing has happened, for all but one of several concurrent turns."""
        answer, question = turn.answer, turn.question
        owned = {"of": answer.owner, "conversation": answer.conversation}
        taken = yield Query(self._take_number, {**owned, "question": question.number})
        if not taken.changed:
            return False
        yield Query(self._add_message, {"conversation_id": answer.conversation, **message_values(question)})
        yield Query(self._add_answer, {**answer_values(turn), "writer": self._me})
        return True

    async def checkpoint(self, parts: Sequence[Part]) -> None:
        values = [{**_event_values(*part), "me": self._me} for part in parts if part.events]
        if values:
            await self._writer.write_each(Repeated(self._add_events_while_held, values))

    async def finish(self, answer: AnswerId, first: int, events: Sequence[AnswerEvent], message: Message) -> bool:
        last_events = _event_values(answer, first, events) if events else {}
        return await self._writer.write(lambda: self._finishing(answer, last_events, message))

    def _finishing(self, answer: AnswerId, events: Values, message: Message) -> Steps[bool]:
        if (yield from self._closing(self._ending_values(answer, message), events)):
            return True
        before = yield Query(self._ended_with, {"answer": answer})
        return (message.text, message.state.value) in before.rows

    def _ending_values(self, answer: AnswerId, message: Message) -> Values:
        reply = {f"new_{name}": value for name, value in message_values(message).items()}
        end = {"ended_as": message.state.value, "moment": message.created_at}
        return {"answer": answer, "me": self._me, "question": message.number, **end, **reply}

    def _closing(self, values: Values, events: Values) -> Steps[bool]:
        """False, and nothing has happened, when the answer is not running or not held."""
        yield Query(self._hold_conversation, values)
        ended = yield Query(self._end, values)
        if not ended.changed:
            return False
        if events:
            yield Query(self._add_events, events)
        yield Query(self._add_reply, values)
        yield Query(self._move_on, values)
        return True

    async def withdraw(self, answer: AnswerId) -> None:
        queries = [Query(step, {"answer": answer, "me": self._me}) for step in self._withdrawal]
        await self._writer.write(lambda: _only(queries))

    async def find(self, owner: UserId, answer: AnswerId) -> Answer:
        (found,) = await self._reader.fetch(Query(self._find, {"of": owner, "answer": answer}))
        if not found:
            raise AnswerNotFound
        return answer_from(found[0])

    async def latest(self, owner: UserId, conversation: ConversationId) -> Answer | None:
        values = {"of": owner, "conversation": conversation}
        listed, found = await self._reader.fetch(Query(self._is_listed, values), Query(self._latest, values))
        if not listed:
            raise ConversationNotFound
        return answer_from(found[0]) if found else None

    async def answer_for(self, owner: UserId, key: IdempotencyKey) -> AnswerId | None:
        (found,) = await self._reader.fetch(Query(self._record, {"of": owner, "name": key.key}))
        return _outcome(found, key)

    async def events(self, answer: AnswerId, *, after: int = 0) -> Sequence[NumberedEvent]:
        (found,) = await self._reader.fetch(Query(self._events, {"answer": answer, "after": after}))
        return [
            (number, event)
            for first, payload in found
            for number, event in enumerate(decode_events(payload), first)
            if number > after
        ]

    async def forget_events_before(self, moment: datetime) -> int:
        forgotten = 0
        while True:
            (outdated,) = await self._reader.fetch(Query(self._outdated, {"moment": moment}))
            if not outdated:
                return forgotten
            await self._forget_events([answer for (answer,) in outdated])
            forgotten += len(outdated)

    async def _forget_events(self, outdated: Sequence[int]) -> None:
        queries = [Query(self._forget, {"answer": answer}) for answer in outdated]
        await self._writer.write(lambda: _only(queries))


def _only(queries: Sequence[Query]) -> Steps[None]:
    for query in queries:  # noqa: UP028 - what is sent to `yield from` goes to the tuple, which cannot take it
        yield query


def _outcome(found: Sequence[Row], key: IdempotencyKey) -> AnswerId | None:
    """The answer that a record stands for. Raises `IdempotencyMismatch` when it stands for something else."""
    if not found:
        return None
    fingerprint, answer = found[0]
    if fingerprint != key.fingerprint or answer is None:
        raise IdempotencyMismatch
    return AnswerId(answer)


def _response_values(answer: AnswerId, request: ResponseRequest) -> dict[str, object]:
    return {"answer_id": answer, "previous": request.previous, "request": request_value(request)}


def _record_values(turn: Turn, key: IdempotencyKey) -> dict[str, object]:
    return {
        "owner": turn.answer.owner,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "outcome": str(turn.answer.id),
        "answer_id": turn.answer.id,
        "created_at": turn.started_at,
    }


def _event_values(answer: AnswerId, first: int, events: Sequence[AnswerEvent]) -> Values:
    return {"answer": answer, "from": first, "to": first + len(events) - 1, "events": encode_events(events)}
