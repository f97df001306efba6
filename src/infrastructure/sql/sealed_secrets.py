"""Secrets on their way from key to key."""

from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, LargeBinary, Text, bindparam, func, select, update

from llm_backend.application.ports.sealed_secrets import StoredSecret
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.secrets import SealedSecret
from llm_backend.infrastructure.sql.ports import Reader, Steps, Writer
from llm_backend.infrastructure.sql.rows import conversations
from llm_backend.infrastructure.sql.statements import Query, Row

_key_id = conversations.c.api_key_id

SECRETS_BY_KEY = select(_key_id, func.count()).where(_key_id.is_not(None)).group_by(_key_id)
_PAGE = (
    select(conversations.c.owner, conversations.c.id, _key_id, conversations.c.api_key)
    .where(
        conversations.c.id > bindparam("after", type_=BigInteger),
        _key_id.is_not(None),
        _key_id != bindparam("newest", type_=Text),
    )
    .order_by(conversations.c.id)
    .limit(bindparam("most", type_=BigInteger))
)
_REPLACE = (
    update(conversations)
    .where(
        conversations.c.id == bindparam("conversation", type_=BigInteger),
        conversations.c.owner == bindparam("of", type_=BigInteger),
        _key_id == bindparam("old_key_id", type_=Text),
        conversations.c.api_key == bindparam("old", type_=LargeBinary),
    )
    .values(api_key_id=bindparam("new_key_id", type_=Text), api_key=bindparam("new", type_=LargeBinary))
)


class SqlSealedSecrets:
    """`SealedSecrets`. Ids of conversations are above zero."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._counts = reader.prepare(SECRETS_BY_KEY)
        self._page = reader.prepare(_PAGE)
        self._replace = writer.prepare(_REPLACE)

    async def count_by_key(self) -> Mapping[str, int]:
        (rows,) = await self._reader.fetch(Query(self._counts))
        return dict(rows)

    async def sealed_otherwise(
        self, key_id: str, *, after: ConversationId | None, limit: int
    ) -> Sequence[StoredSecret]:
        values = {"newest": key_id, "after": after or 0, "most": limit}
        (rows,) = await self._reader.fetch(Query(self._page, values))
        return [_stored(row) for row in rows]

    async def replace(self, changes: Sequence[tuple[StoredSecret, SealedSecret]]) -> None:
        await self._writer.write(lambda: self._replacing(changes))

    def _replacing(self, changes: Sequence[tuple[StoredSecret, SealedSecret]]) -> Steps[None]:
        for stored, new in changes:
            yield Query(self._replace, _values(stored, new))


def _stored(row: Row) -> StoredSecret:
    owner, conversation, key_id, sealed = row
    secret = SealedSecret(key_id=key_id, sealed=sealed)
    return StoredSecret(owner=UserId(owner), conversation=ConversationId(conversation), secret=secret)


def _values(stored: StoredSecret, new: SealedSecret) -> Mapping[str, object]:
    return {
        "conversation": stored.conversation,
        "of": stored.owner,
        "old_key_id": stored.secret.key_id,
        "old": stored.secret.sealed,
        "new_key_id": new.key_id,
        "new": new.sealed,
    }
