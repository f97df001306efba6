"""API keys to look at."""

from collections.abc import Sequence
from typing import Protocol

from llm_backend.domain.api_keys import ApiKey
from llm_backend.domain.ids import UserId


class ApiKeyViews(Protocol):
    """Looks at what has been committed, at every request: a key that was deleted is dead at once, everywhere."""

    async def by_digest(self, digest: bytes) -> ApiKey | None: ...

    async def of(self, owner: UserId) -> Sequence[ApiKey]:
        """All of them, newest first."""
