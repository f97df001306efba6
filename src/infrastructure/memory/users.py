"""Accounts and sessions in memory."""

from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.domain.errors import UsernameTaken
from llm_backend.domain.ids import UserId
from llm_backend.domain.users import Session, User
from llm_backend.infrastructure.memory.tables import Place


@dataclass(frozen=True, slots=True)
class MemoryUsers:
    """Accounts by id."""

    place: Place

    async def add(self, user: User) -> None:
        if await self.named(user.username):
            raise UsernameTaken
        await self.save(user)

    async def get(self, user: UserId) -> User | None:
        found = self.place.tables.users.get(user)
        return found and replace(found)

    async def named(self, username: str) -> User | None:
        users = self.place.tables.users.values()
        return next((replace(user) for user in users if user.username == username), None)

    async def save(self, user: User) -> None:
        self.place.tables.users[user.id] = replace(user)


@dataclass(frozen=True, slots=True)
class MemoryRevocations:
    """Dead tokens by id, with the time they would have ended anyway."""

    place: Place

    async def add(self, token_id: str, *, until: datetime) -> None:
        self.place.tables.revocations[token_id] = until

    async def contains(self, token_id: str) -> bool:
        return token_id in self.place.tables.revocations

    async def forget_expired(self, now: datetime) -> int:
        revocations = self.place.tables.revocations
        expired = [token_id for token_id, until in revocations.items() if until < now]
        for token_id in expired:
            del revocations[token_id]
        return len(expired)


@dataclass(frozen=True, slots=True)
class MemorySessionViews:
    """Sessions, looked up among the accounts."""

    place: Place

    async def is_live(self, session: Session) -> bool:
        tables = self.place.tables
        user = tables.users.get(session.user)
        is_current = user is not None and user.token_version == session.token_version
        return is_current and session.token_id not in tables.revocations
