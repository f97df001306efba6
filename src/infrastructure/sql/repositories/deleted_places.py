"""Forgetting where deleted things were in lists. They are noted down by the repositories that delete them."""

from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, update

from llm_backend.infrastructure.sql.rows import deleted_places
from llm_backend.infrastructure.sql.transaction import Transaction

_FORGET = delete(deleted_places).where(deleted_places.c.noticed_at <= bindparam("since"))
_NOTICE = update(deleted_places).where(deleted_places.c.noticed_at.is_(None)).values(noticed_at=bindparam("now"))


class SqlDeletedPlaces:
    """`DeletedPlaces` in the table `deleted_places`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def forget(self, *, now: datetime, kept_for: timedelta) -> int:
        forgotten = (await self._transaction.execute(_FORGET, {"since": now - kept_for})).rowcount
        await self._transaction.execute(_NOTICE, {"now": now})
        return forgotten
