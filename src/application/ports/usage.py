"""Where it is kept what was used."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from llm_backend.domain.ids import UserId
from llm_backend.domain.usage import UsageGroup, UsageRecord, UsageSum


class UsageLog(Protocol):
    """Records outlive the keys and conversations that they name, but not the user."""

    async def add(self, records: Sequence[UsageRecord]) -> None:
        """All or none; once it returns, they survive a power cut. Those of users who are gone are left out, and those
        whose id is there already. Raises `DatabaseUnavailable` or `StorageFull`; when the connection is lost during the
        very commit, nobody knows whether they are there, and they may be added again."""

    async def sums(
        self, owner: UserId, by: UsageGroup, *, since: datetime | None = None, until: datetime | None = None
    ) -> Sequence[UsageSum]:
        """What that user used from `since` on and before `until`, in the order of the groups, None first."""
