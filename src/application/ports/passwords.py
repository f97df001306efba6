"""Keeping passwords without keeping them."""

from typing import Protocol

from llm_backend.domain.users import PasswordHash


class Passwords(Protocol):
    """Slow on purpose, so bounded: raises `Overloaded` when too many are waiting."""

    async def hash(self, password: str) -> PasswordHash: ...

    async def verify(self, password: str, stored: PasswordHash | None) -> bool:
        """Whether it is the one. Without a stored hash it takes just as long and is false."""

    def is_outdated(self, stored: PasswordHash) -> bool:
        """Whether it should be hashed again under the present parameters."""
