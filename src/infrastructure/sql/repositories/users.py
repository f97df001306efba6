"""Accounts and dead tokens."""

from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select, update

from llm_backend.domain.errors import UsernameTaken
from llm_backend.domain.ids import UserId
from llm_backend.domain.users import User
from llm_backend.infrastructure.sql.dialects import upsert
from llm_backend.infrastructure.sql.errors import Violation
from llm_backend.infrastructure.sql.mapping import USER_COLUMNS, user_from, user_values
from llm_backend.infrastructure.sql.rows import revoked_tokens, users
from llm_backend.infrastructure.sql.transaction import Transaction

# Whoever reads a user may want to change it: PostgreSQL lets the next one read only after this one's end.
_BY_ID = select(*USER_COLUMNS).where(users.c.id == bindparam("user")).with_for_update(key_share=True)
_BY_NAME = select(*USER_COLUMNS).where(users.c.username == bindparam("username"))


class SqlUsers:
    """`Users` in the table `users`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, user: User) -> None:
        try:
            await self._transaction.execute(insert(users), user_values(user))
        except Violation as error:
            raise UsernameTaken from error

    async def get(self, user: UserId) -> User | None:
        row = (await self._transaction.execute(_BY_ID, {"user": user})).first()
        return None if row is None else user_from(row)

    async def named(self, username: str) -> User | None:
        row = (await self._transaction.execute(_BY_NAME, {"username": username})).first()
        return None if row is None else user_from(row)

    async def save(self, user: User) -> None:
        await self._transaction.execute(update(users).where(users.c.id == user.id), user_values(user))


class SqlRevocations:
    """`Revocations` in the table `revoked_tokens`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, token_id: str, *, until: datetime) -> None:
        once = upsert(revoked_tokens).values(token_id=token_id, until=until).on_conflict_do_nothing()
        await self._transaction.execute(once)

    async def contains(self, token_id: str) -> bool:
        found = select(revoked_tokens.c.token_id).where(revoked_tokens.c.token_id == token_id)
        return (await self._transaction.execute(found)).first() is not None

    async def forget_expired(self, now: datetime) -> int:
        result = await self._transaction.execute(delete(revoked_tokens).where(revoked_tokens.c.until < now))
        return result.rowcount
