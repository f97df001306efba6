"""Responses. They are written by the journal, with the answers that they are, and read by the views."""

from sqlalchemy import and_, bindparam, delete, exists, false, select

from llm_backend.domain.errors import ResponseNotFound
from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.infrastructure.sql.rows import RUNNING, answer_events, answers, conversations, responses
from llm_backend.infrastructure.sql.transaction import Transaction

_FIND = (
    select(answers.c.conversation_id)
    .join(responses, responses.c.answer_id == answers.c.id)
    .join(conversations, conversations.c.id == answers.c.conversation_id)
    .where(answers.c.id == bindparam("response"), conversations.c.owner == bindparam("owner"))
)
_REMOVE = delete(responses).where(responses.c.answer_id == bindparam("response"))
# An answer that is still written needs its events: for those who read along, and for whoever may have to take it over.
_REMOVE_EVENTS = delete(answer_events).where(
    answer_events.c.answer_id == bindparam("response"),
    exists().where(answers.c.id == answer_events.c.answer_id, answers.c.state != RUNNING),
)
_REMOVE_UNLISTED = delete(conversations).where(
    and_(conversations.c.id == bindparam("conversation"), conversations.c.listed.is_(false()))
)


class SqlResponses:
    """`Responses` in the table `responses`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def remove(self, owner: UserId, response: AnswerId) -> None:
        found = (await self._transaction.execute(_FIND, {"response": response, "owner": owner})).first()
        if found is None:
            raise ResponseNotFound
        await self._transaction.execute(_REMOVE_UNLISTED, {"conversation": found[0]})
        await self._transaction.execute(_REMOVE, {"response": response})
        await self._transaction.execute(_REMOVE_EVENTS, {"response": response})
