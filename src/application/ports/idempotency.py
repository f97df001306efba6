"""Requests that were carried out under an Idempotency-Key."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from llm_backend.domain.errors import InvalidIdempotencyKey
from llm_backend.domain.ids import UserId

LONGEST_KEY = 255
NOBODY = UserId(0)  # the owner of keys that come before there is a user: those of registrations


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """The client's key, and a fingerprint of what it asked for under it."""

    key: str
    fingerprint: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.key) <= LONGEST_KEY or not all(" " <= character <= "~" for character in self.key):
            raise InvalidIdempotencyKey


class IdempotencyRecords(Protocol):
    """What came of each key: the id of the thing that was made."""

    async def outcome(self, owner: UserId, key: IdempotencyKey) -> str | None:
        """None when the key is new. Raises `IdempotencyMismatch` when it stands for another request."""

    async def record(self, owner: UserId, key: IdempotencyKey, outcome: str, *, at: datetime) -> None:
        """Raises `AlreadyRecorded`, at the latest at commit, when somebody else was faster."""

    async def forget(self, owner: UserId, key: IdempotencyKey) -> None:
        """The key is new again; no error if it is."""

    async def forget_before(self, moment: datetime) -> int:
        """Return how many were forgotten."""


class AlreadyRecorded(Exception):
    """The same key was recorded by a concurrent unit of work; look at its `outcome` and return that."""
