"""Keys with which programs act for a user: as many as wanted, each with a name and perhaps an end and limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from llm_backend.domain.errors import InvalidKeyExpiry, InvalidKeyName, ScopeMissing
from llm_backend.domain.ids import ApiKeyId, UserId
from llm_backend.domain.secrets import Secret
from llm_backend.domain.text import has_control_characters, is_storable

KEY_MARK = "sk-"
LONGEST_NAME = 255
SHOWN = 11  # characters: the mark and eight more, which tell a user's keys apart and leave 208 bits unknown


class Scope(StrEnum):
    """What a key may be good for. A key without scopes is good for everything; one with some, for these alone."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    FILES = "files"
    READ_ONLY = "read-only"
    """Nothing is changed or generated. Alone: everything may be looked at; beside others: only what they name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is stored: what it is good for, but not the key itself."""

    id: ApiKeyId
    owner: UserId
    name: str
    prefix: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope] = frozenset()
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    def __post_init__(self) -> None:
        name = self.name
        if not 1 <= len(name) <= LONGEST_NAME or not name.strip() or not is_storable(name):
            raise InvalidKeyName
        if has_control_characters(name):
            raise InvalidKeyName
        if self.expires_at is not None and self.expires_at <= self.created_at:
            raise InvalidKeyExpiry

    def is_live(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who is asking, by which key (none: by a token of their own), and for what that is good."""

    user: UserId
    key: ApiKeyId | None = None
    scopes: frozenset[Scope] = frozenset()

    def check(self, wanted: Scope | None, *, changes: bool) -> None:
        """Raises `ScopeMissing`. `wanted` is None for what every key may do."""
        areas = self.scopes - {Scope.READ_ONLY}
        if (changes and Scope.READ_ONLY in self.scopes) or (wanted and areas and wanted not in areas):
            raise ScopeMissing


class ApiKeys(Protocol):
    """The keys of everybody."""

    async def add(self, key: ApiKey) -> None: ...

    async def get(self, owner: UserId, key: ApiKeyId) -> ApiKey:
        """Raises `ApiKeyNotFound`."""

    async def count(self, owner: UserId) -> int: ...

    async def remove(self, owner: UserId, key: ApiKeyId) -> None:
        """It is dead with the commit. Raises `ApiKeyNotFound`."""

    async def remove_all(self, owner: UserId) -> None: ...

    async def note_uses(self, uses: Sequence[tuple[ApiKeyId, datetime]]) -> None:
        """When each was used last. Keys that are gone are passed over."""


def shown_prefix(key: Secret) -> str:
    return key.reveal()[:SHOWN]


def digest_of(key: Secret) -> bytes:
    """What a key is stored and looked up as.

    A plain hash is enough: a key has 256 random bits, so there is no dictionary to try and nothing to slow down, and
    what could be learned from the time that an index takes is about the hash, not about the key.
    """
    return sha256(key.reveal().encode(errors="replace")).digest()
