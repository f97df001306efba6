"""The views of API keys."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, LargeBinary, bindparam, select

from llm_backend.domain.api_keys import ApiKey
from llm_backend.domain.ids import UserId
from llm_backend.infrastructure.sql.mapping import API_KEY_COLUMNS, api_key_from
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.rows import api_keys
from llm_backend.infrastructure.sql.statements import Query

_BY_DIGEST = select(*API_KEY_COLUMNS).where(api_keys.c.digest == bindparam("digest", type_=LargeBinary))
_OF_OWNER = (
    select(*API_KEY_COLUMNS)
    .where(api_keys.c.owner == bindparam("owner", type_=BigInteger))
    .order_by(api_keys.c.sequence.desc())
)


class SqlApiKeyViews:
    """`ApiKeyViews`: one statement for each request."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._by_digest = reader.prepare(_BY_DIGEST)
        self._of_owner = reader.prepare(_OF_OWNER)

    async def by_digest(self, digest: bytes) -> ApiKey | None:
        (found,) = await self._reader.fetch(Query(self._by_digest, {"digest": digest}))
        return api_key_from(found[0]) if found else None

    async def of(self, owner: UserId) -> Sequence[ApiKey]:
        (found,) = await self._reader.fetch(Query(self._of_owner, {"owner": owner}))
        return list(map(api_key_from, found))
