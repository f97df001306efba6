"""What the product that this one replaces has left, in its own words."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from llm_backend.domain.errors import Unavailable
from llm_backend.domain.secrets import Secret


class OldDataUnusable(Unavailable):
    """Nothing can be read at all: there is no such file or server, or it holds something else."""

    code = "old_data_unusable"
    default_message = "The data of the old product cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldUser:
    """An account. `password` is its hash, which `Passwords` can verify."""

    id: int
    username: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OldMessage:
    """What was said, without a time."""

    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OldConversation:
    """A conversation with everything that was said; what was not to be found is nothing."""

    id: str
    owner: int
    title: str
    model: str | None
    api_key: Secret | None
    created_at: datetime | None
    messages: Sequence[OldMessage]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that makes no sense, and why."""

    what: str
    why: str


class OldProduct(Protocol):
    """Read in the order in which things were made. Raises `OldDataUnusable`, but not for a single thing."""

    def users(self) -> AsyncIterator[OldUser | Unreadable]: ...

    def conversations(self) -> AsyncIterator[OldConversation | Unreadable]: ...
