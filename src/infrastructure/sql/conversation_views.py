"""`ConversationViews`: lists and threads, read from the tables straight into what is shown."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Integer, Text, and_, bindparam, cast, func, select, true

from llm_backend.application.ports.views import LARGEST_NUMBER
from llm_backend.domain.conversations import ConversationSummary, Thread
from llm_backend.domain.errors import ConversationNotFound, CursorNotFound
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.infrastructure.sql.deleted_places import CONVERSATION, deleted_place
from llm_backend.infrastructure.sql.mapping import (
    CONVERSATION_COLUMNS,
    MESSAGE_COLUMNS,
    SUMMARY_COLUMNS,
    conversation_from,
    message_from,
    summary_from,
)
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.rows import conversations, messages
from llm_backend.infrastructure.sql.statements import Query, Row

EVERYTHING = 2**62  # a limit that limits nothing

_OWNER = bindparam("owner", type_=BigInteger)
_CONVERSATION = bindparam("conversation", type_=BigInteger)
_LIMIT = bindparam("limit", type_=BigInteger)

_SUMMARIES = (
    select(*SUMMARY_COLUMNS)
    .where(conversations.c.owner == _OWNER, conversations.c.listed.is_(true()))
    .order_by(conversations.c.sequence.desc())
    .limit(_LIMIT)
)
_earlier = conversations.alias("earlier")
_BEFORE = bindparam("before", type_=BigInteger)
_PLACE_OF_EARLIER = func.coalesce(
    select(_earlier.c.sequence)
    .where(_earlier.c.id == _BEFORE, _earlier.c.owner == _OWNER, _earlier.c.listed.is_(true()))
    .scalar_subquery(),
    deleted_place(CONVERSATION, _OWNER, cast(_BEFORE, Text)),
)
_SUMMARIES_BEFORE = _SUMMARIES.where(conversations.c.sequence < _PLACE_OF_EARLIER)
_EARLIER = select(_PLACE_OF_EARLIER)

_OWNED_CONVERSATION = and_(conversations.c.id == _CONVERSATION, conversations.c.owner == _OWNER)
# Of one moment without a transaction, which to PostgreSQL would take three more journeys. The conversation comes with
# every message, and alone if there is none.
_THREAD = (
    select(*CONVERSATION_COLUMNS, *MESSAGE_COLUMNS)
    .outerjoin_from(conversations, messages, messages.c.conversation_id == conversations.c.id)
    .where(_OWNED_CONVERSATION)
    .order_by(messages.c.number.desc())
    .limit(_LIMIT)
)
_STRETCH = (
    select(*CONVERSATION_COLUMNS, *MESSAGE_COLUMNS)
    .outerjoin_from(
        conversations,
        messages,
        and_(
            messages.c.conversation_id == conversations.c.id,
            messages.c.number.between(bindparam("first", type_=Integer), bindparam("last", type_=Integer)),
        ),
    )
    .where(_OWNED_CONVERSATION)
    .limit(_LIMIT)
)
_OLDEST_OF_STRETCH = _STRETCH.order_by(messages.c.number)
_NEWEST_OF_STRETCH = _STRETCH.order_by(messages.c.number.desc())


class SqlConversationViews:
    """`ConversationViews`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._summaries = reader.prepare(_SUMMARIES)
        self._summaries_before = reader.prepare(_SUMMARIES_BEFORE)
        self._earlier = reader.prepare(_EARLIER)
        self._thread = reader.prepare(_THREAD)
        self._oldest_of = reader.prepare(_OLDEST_OF_STRETCH)
        self._newest_of = reader.prepare(_NEWEST_OF_STRETCH)

    async def summaries(
        self, owner: UserId, *, limit: int | None = None, before: ConversationId | None = None
    ) -> Sequence[ConversationSummary]:
        statement = self._summaries if before is None else self._summaries_before
        values = {"owner": owner, "limit": _limit(limit), "before": before}
        (found,) = await self._reader.fetch(Query(statement, values))
        if before is not None and not found:
            (((place,),),) = await self._reader.fetch(Query(self._earlier, values))
            if place is None:
                raise CursorNotFound(param="before")
        return list(map(summary_from, found))

    async def thread(
        self, owner: UserId, conversation: ConversationId, *, limit: int | None = None, unlisted: bool = False
    ) -> Thread:
        values = {"owner": owner, "conversation": conversation, "limit": _limit(limit)}
        (newest_first,) = await self._reader.fetch(Query(self._thread, values))
        return _thread_from(newest_first[::-1], unlisted=unlisted)

    async def stretch(
        self,
        owner: UserId,
        conversation: ConversationId,
        *,
        first: int = 0,
        last: int = LARGEST_NUMBER,
        limit: int,
        newest_first: bool = False,
        unlisted: bool = False,
    ) -> Thread:
        values = {"owner": owner, "conversation": conversation, "first": first, "last": last, "limit": _limit(limit)}
        statement = self._newest_of if newest_first else self._oldest_of
        (found,) = await self._reader.fetch(Query(statement, values))
        return _thread_from(found, unlisted=unlisted)


def _thread_from(found: Sequence[Row], *, unlisted: bool) -> Thread:
    """Raises `ConversationNotFound`."""
    width = len(CONVERSATION_COLUMNS)
    conversation = conversation_from(found[0][:width]) if found else None
    if conversation is None or not (conversation.listed or unlisted):
        raise ConversationNotFound
    messages = [message_from(row[width:]) for row in found if row[width] is not None]
    return Thread(conversation=conversation, messages=messages)


def _limit(limit: int | None) -> int:
    return EVERYTHING if limit is None else min(limit, EVERYTHING)
