"""Conversations. Their messages are written by the journal, unless they come from elsewhere, and read by the views."""

from collections.abc import Sequence

from sqlalchemy import and_, bindparam, delete, insert, select

from llm_backend.domain.conversations import Conversation, Message
from llm_backend.domain.errors import ConversationIdTaken, ConversationNotFound
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.infrastructure.sql import rows
from llm_backend.infrastructure.sql.errors import Violation
from llm_backend.infrastructure.sql.mapping import (
    CONVERSATION_COLUMNS,
    conversation_from,
    conversation_values,
    message_values,
)
from llm_backend.infrastructure.sql.rows import conversations
from llm_backend.infrastructure.sql.transaction import Transaction

_OWNED = and_(conversations.c.id == bindparam("conversation"), conversations.c.owner == bindparam("owner"))
_GET = select(*CONVERSATION_COLUMNS).where(_OWNED)
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
        row = (await self._transaction.execute(_GET, {"conversation": conversation, "owner": owner})).first()
        if row is None:
            raise ConversationNotFound
        return conversation_from(row)

    async def remove(self, owner: UserId, conversation: ConversationId) -> None:
        result = await self._transaction.execute(_REMOVE, {"conversation": conversation, "owner": owner})
        if not result.rowcount:
            raise ConversationNotFound
