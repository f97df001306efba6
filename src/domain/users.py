"""Who is asking: accounts, and the sessions they hold."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from llm_backend.domain.errors import InvalidPassword, InvalidUsername
from llm_backend.domain.ids import UserId
from llm_backend.domain.text import has_control_characters, is_storable

LONGEST_USERNAME = 64
LONGEST_PASSWORD = 256


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A password as it is stored, in the PHC string format."""

    phc: str

    def __repr__(self) -> str:
        return "PasswordHash(***)"


@dataclass(slots=True, kw_only=True)
class User:
    """An account. Every token carries the `token_version` it was made under; raising it kills them all."""

    id: UserId
    username: str
    password: PasswordHash
    token_version: int = 1
    created_at: datetime

    def __post_init__(self) -> None:
        check_username(self.username)

    def change_password(self, new: PasswordHash) -> None:
        self.password = new
        self.token_version += 1

    def rehash_password(self, same: PasswordHash) -> None:
        """The same password under newer parameters; sessions stay alive."""
        self.password = same


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a valid token says: who, since when, until when, under which version."""

    user: UserId
    token_id: str
    token_version: int
    issued_at: datetime
    expires_at: datetime


class Users(Protocol):
    """All accounts."""

    async def add(self, user: User) -> None:
        """Raises `UsernameTaken`, at the latest when the unit of work commits."""

    async def get(self, user: UserId) -> User | None: ...

    async def named(self, username: str) -> User | None: ...

    async def save(self, user: User) -> None: ...


class Revocations(Protocol):
    """Tokens that died before their time."""

    async def add(self, token_id: str, *, until: datetime) -> None:
        """Adding one twice is no error."""

    async def contains(self, token_id: str) -> bool: ...

    async def forget_expired(self, now: datetime) -> int:
        """Return how many were forgotten."""


def check_username(username: str) -> None:
    fits = 1 <= len(username) <= LONGEST_USERNAME and username == username.strip()
    if not fits or has_control_characters(username) or not is_storable(username):
        raise InvalidUsername


def check_password(password: str) -> None:
    if not 1 <= len(password) <= LONGEST_PASSWORD or not is_storable(password):
        raise InvalidPassword
