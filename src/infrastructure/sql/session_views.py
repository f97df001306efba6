"""`SessionViews`: whether a token is good."""

from sqlalchemy import BigInteger, Integer, Text, bindparam, exists, select

from llm_backend.domain.users import Session
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.rows import revoked_tokens, users
from llm_backend.infrastructure.sql.statements import Query

_LIVE = select(users.c.id).where(
    users.c.id == bindparam("user", type_=BigInteger),
    users.c.token_version == bindparam("version", type_=Integer),
    ~exists().where(revoked_tokens.c.token_id == bindparam("token", type_=Text)),
)


class SqlSessionViews:
    """`SessionViews`: one statement for each request."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._live = reader.prepare(_LIVE)

    async def is_live(self, session: Session) -> bool:
        values = {"user": session.user, "version": session.token_version, "token": session.token_id}
        (found,) = await self._reader.fetch(Query(self._live, values))
        return bool(found)
