"""API keys."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Text, and_, bindparam, delete, func, insert, select, update

from llm_backend.domain.api_keys import ApiKey
from llm_backend.domain.errors import ApiKeyNotFound
from llm_backend.domain.ids import ApiKeyId, UserId
from llm_backend.infrastructure.sql.dialects import UtcTime
from llm_backend.infrastructure.sql.mapping import API_KEY_COLUMNS, api_key_from, api_key_values
from llm_backend.infrastructure.sql.rows import api_keys
from llm_backend.infrastructure.sql.transaction import Transaction

_NOTE_USE = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("used", type_=Text))
    .values(last_used_at=bindparam("at", type_=UtcTime))
)


class SqlApiKeys:
    """`ApiKeys` in the table `api_keys`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, key: ApiKey) -> None:
        await self._transaction.execute(insert(api_keys), api_key_values(key))

    async def get(self, owner: UserId, key: ApiKeyId) -> ApiKey:
        named = and_(api_keys.c.id == key, api_keys.c.owner == owner)
        row = (await self._transaction.execute(select(*API_KEY_COLUMNS).where(named))).first()
        if row is None:
            raise ApiKeyNotFound
        return api_key_from(row)

    async def count(self, owner: UserId) -> int:
        counted = select(func.count()).select_from(api_keys).where(api_keys.c.owner == owner)
        return int((await self._transaction.execute(counted)).scalar_one())

    async def remove(self, owner: UserId, key: ApiKeyId) -> None:
        named = and_(api_keys.c.id == key, api_keys.c.owner == owner)
        if not (await self._transaction.execute(delete(api_keys).where(named))).rowcount:
            raise ApiKeyNotFound

    async def remove_all(self, owner: UserId) -> None:
        await self._transaction.execute(delete(api_keys).where(api_keys.c.owner == owner))

    async def note_uses(self, uses: Sequence[tuple[ApiKeyId, datetime]]) -> None:
        in_order = sorted(uses)  # so that two processes never wait for each other's rows
        await self._transaction.execute_each(_NOTE_USE, [{"used": key, "at": at} for key, at in in_order])
