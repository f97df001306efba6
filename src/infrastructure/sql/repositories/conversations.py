"""Conversations. Their messages are written by the journal, unless no answer was asked for, and read by the views."""

from collections.abc import Sequence

from sqlalchemy import Update, and_, bindparam, delete, exists, insert, select, true, update

from llm_backend.domain.conversations import Conversation, Message
from llm_backend.domain.errors import AnswerInProgress, ConversationIdTaken, ConversationNotFound
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.infrastructure.sql import rows
from llm_backend.infrastructure.sql.deleted_places import note_conversations
from llm_backend.infrastructure.sql.errors import Violation
from llm_backend.infrastructure.sql.mapping import (
    CONVERSATION_COLUMNS,
    MESSAGE_COLUMNS,
    conversation_from,
    conversation_values,
    message_from,
    message_values,
)
from llm_backend.infrastructure.sql.rows import conversations
from llm_backend.infrastructure.sql.together import Statements
from llm_backend.infrastructure.sql.transaction import Transaction

_IS_LISTED = conversations.c.listed.is_(true())
_OWNED = and_(conversations.c.id == bindparam("conversation"), conversations.c.owner == bindparam("of"), _IS_LISTED)
_GET = select(*CONVERSATION_COLUMNS).where(_OWNED)
_IS_ANSWERED = exists().where(
    rows.answers.c.conversation_id == conversations.c.id, rows.answers.c.state == rows.RUNNING
)
_DROP_EVENTS = delete(rows.answer_events).where(
    rows.answer_events.c.answer_id.in_(
        select(rows.answers.c.id).where(
            rows.answers.c.conversation_id == bindparam("conversation"), rows.answers.c.number == bindparam("number")
        )
    )
)
_NOTE = note_conversations(_OWNED)
_REMOVE = delete(conversations).where(_OWNED)


class SqlConversations:
    """`Conversations` in the table `conversations`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, conversation: Conversation, messages: Sequence[Message] = ()) -> None:
        try:
            await self._transaction.execute(insert(conversations), conversation_values(conversation))
        except Violation as error:
            raise ConversationIdTaken from error
        values = [{**message_values(message), "conversation_id": conversation.id} for message in messages]
        await self._transaction.execute_each(insert(rows.messages), values)

    async def get(self, owner: UserId, conversation: ConversationId) -> Conversation:
        row = (await self._transaction.execute(_GET, {"conversation": conversation, "of": owner})).first()
        if row is None:
            raise ConversationNotFound
        return conversation_from(row)

    async def describe(self, conversation: Conversation) -> None:
        changed = _changed(conversation).values(metadata=conversation_values(conversation)["metadata"])
        if not (await self._transaction.execute(changed)).rowcount:
            raise ConversationNotFound

    async def append(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        is_next = conversations.c.last_number == conversation.last_number - len(messages)
        moved = _changed(conversation).where(is_next, ~_IS_ANSWERED).values(last_number=conversation.last_number)
        if not (await self._transaction.execute(moved)).rowcount:
            raise AnswerInProgress
        values = [{**message_values(message), "conversation_id": conversation.id} for message in messages]
        await self._transaction.execute_each(insert(rows.messages), values)

    async def message(self, conversation: Conversation, number: int) -> Message | None:
        place = and_(rows.messages.c.conversation_id == conversation.id, rows.messages.c.number == number)
        row = (await self._transaction.execute(select(*MESSAGE_COLUMNS).where(place).with_for_update())).first()
        return None if row is None else message_from(row)

    async def rewrite(self, conversation: Conversation, message: Message) -> None:
        place = and_(rows.messages.c.conversation_id == conversation.id, rows.messages.c.number == message.number)
        await self._transaction.execute(update(rows.messages).where(place).values(message_values(message)))
        values = {"conversation": conversation.id, "number": message.number}
        await self._transaction.execute(_DROP_EVENTS, values)

    async def remove(self, owner: UserId, conversation: ConversationId) -> None:
        values = {"conversation": conversation, "of": owner}

        def remove(statements: Statements) -> int:
            statements.execute(_NOTE, values)
            return statements.execute(_REMOVE, values).changed

        if not await self._transaction.together(remove):
            raise ConversationNotFound


def _changed(conversation: Conversation) -> Update:
    return update(conversations).where(
        conversations.c.id == conversation.id, conversations.c.owner == conversation.owner, _IS_LISTED
    )
