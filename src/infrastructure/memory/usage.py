"""What was used, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from llm_backend.domain.ids import UserId
from llm_backend.domain.usage import UsageGroup, UsageRecord, UsageSum
from llm_backend.infrastructure.memory.tables import Committed


@dataclass(frozen=True, slots=True)
class MemoryUsageLog:
    """Records in the order in which they came."""

    committed: Committed

    async def add(self, records: Sequence[UsageRecord]) -> None:
        async with self.committed.lock:
            tables = self.committed.tables
            for record in records:
                if record.owner in tables.users:
                    tables.usage.setdefault(record.id, record)

    async def sums(
        self, owner: UserId, by: UsageGroup, *, since: datetime | None = None, until: datetime | None = None
    ) -> Sequence[UsageSum]:
        groups: dict[str | None, list[UsageRecord]] = {}
        for record in self.committed.tables.usage.values():
            in_time = (since is None or since <= record.at) and (until is None or record.at < until)
            if record.owner == owner and in_time:
                groups.setdefault(_group(record, by), []).append(record)
        in_order = sorted(groups, key=lambda group: (group is not None, group or ""))
        return [_sum(group, groups[group]) for group in in_order]


def _group(record: UsageRecord, by: UsageGroup) -> str | None:
    match by:
        case UsageGroup.DAY:
            return record.at.astimezone(UTC).date().isoformat()
        case UsageGroup.MODEL:
            return record.model
        case UsageGroup.KEY:
            return record.key
        case UsageGroup.CONVERSATION:
            return None if record.conversation is None else str(record.conversation)
        case UsageGroup.KIND:
            return record.kind.value


def _sum(group: str | None, records: Sequence[UsageRecord]) -> UsageSum:
    return UsageSum(
        group=group,
        requests=len(records),
        prompt=sum(record.tokens.prompt for record in records),
        completion=sum(record.tokens.completion for record in records),
        estimated=sum(record.is_estimated for record in records),
        cost=sum(record.cost or 0 for record in records),
    )
