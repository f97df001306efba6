"""The views of responses."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, and_, bindparam, literal, select

from llm_backend.domain.errors import ResponseNotFound
from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.domain.responses import Response
from llm_backend.infrastructure.sql.mapping import MESSAGE_COLUMNS, RESPONSE_COLUMNS, response_from
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.rows import answers, conversations, messages, responses
from llm_backend.infrastructure.sql.statements import Query

_RESPONSE = bindparam("response", type_=BigInteger)
_OWNER = bindparam("owner", type_=BigInteger)
_LIMIT = bindparam("limit", type_=Integer)

_question = messages.alias("question")
_reply = messages.alias("reply")


def _whole(is_owned: ColumnElement[bool]) -> Select[Any]:
    """Every response of the owner, each with what was said in it."""
    asked = [_question.c[column.name] for column in MESSAGE_COLUMNS]
    said = [_reply.c[column.name] for column in MESSAGE_COLUMNS]
    of_question = and_(
        _question.c.conversation_id == answers.c.conversation_id, _question.c.number == answers.c.number - 1
    )
    of_reply = and_(_reply.c.conversation_id == answers.c.conversation_id, _reply.c.number == answers.c.number)
    return (
        select(*RESPONSE_COLUMNS, *asked, *said)
        .select_from(responses)
        .join(answers, answers.c.id == responses.c.answer_id)
        .join(conversations, conversations.c.id == answers.c.conversation_id)
        .join(_question, of_question)
        .outerjoin(_reply, of_reply)
        .where(is_owned)
    )


_FIND = _whole(conversations.c.owner == _OWNER).where(responses.c.answer_id == _RESPONSE)

_one = (
    select(responses.c.answer_id, responses.c.previous, literal(1, Integer).label("depth"))
    .where(responses.c.answer_id == _RESPONSE)
    .cte("lineage", recursive=True)
)
_earlier = responses.alias("earlier")
_lineage = _one.union_all(
    select(_earlier.c.answer_id, _earlier.c.previous, _one.c.depth + 1)
    .join(_one, _earlier.c.answer_id == _one.c.previous)
    .where(_one.c.depth < _LIMIT)
)
# The sum hides the index by owner from SQLite, which would otherwise begin with all conversations that a user has.
_LINEAGE = (
    _whole(conversations.c.owner + 0 == _OWNER)
    .join(_lineage, _lineage.c.answer_id == responses.c.answer_id)
    .order_by(_lineage.c.depth.desc())
)


class SqlResponseViews:
    """`ResponseViews`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._find = reader.prepare(_FIND)
        self._lineage = reader.prepare(_LINEAGE)

    async def find(self, owner: UserId, response: AnswerId) -> Response:
        (found,) = await self._reader.fetch(Query(self._find, {"owner": owner, "response": response}))
        if not found:
            raise ResponseNotFound
        return response_from(found[0])

    async def lineage(self, owner: UserId, response: AnswerId, *, limit: int) -> Sequence[Response]:
        values = {"owner": owner, "response": response, "limit": limit}
        (found,) = await self._reader.fetch(Query(self._lineage, values))
        if not found:
            raise ResponseNotFound
        return list(map(response_from, found))
