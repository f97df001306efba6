"""What has been taken over from the old product."""

from sqlalchemy import BigInteger, bindparam, select

from llm_backend.domain.ids import ConversationId
from llm_backend.infrastructure.sql.dialects import upsert
from llm_backend.infrastructure.sql.rows import taken_over
from llm_backend.infrastructure.sql.transaction import Transaction

_CONVERSATION = bindparam("conversation", type_=BigInteger)
_HAS = select(taken_over.c.conversation_id).where(taken_over.c.conversation_id == _CONVERSATION)
_NOTE = upsert(taken_over).values(conversation_id=_CONVERSATION).on_conflict_do_nothing().inline()


class SqlTakenOver:
    """`TakenOver` in the table `taken_over`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def has(self, conversation: ConversationId) -> bool:
        return (await self._transaction.execute(_HAS, {"conversation": conversation})).first() is not None

    async def note(self, conversation: ConversationId) -> None:
        await self._transaction.execute(_NOTE, {"conversation": conversation})
