"""What was used, row by row."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Select, Text, bindparam, case, cast, exists, func, select
from sqlalchemy.sql.elements import ColumnElement

from llm_backend.domain.ids import UserId
from llm_backend.domain.usage import UsageGroup, UsageRecord, UsageSum
from llm_backend.infrastructure.sql.dialects import UtcTime, upsert
from llm_backend.infrastructure.sql.mapping import usage_values
from llm_backend.infrastructure.sql.ports import Reader, Steps, Writer
from llm_backend.infrastructure.sql.rows import usage, users
from llm_backend.infrastructure.sql.statements import Query

_COLUMNS = [column for column in usage.c if column.name != "sequence"]
# Whoever is gone has left no address for a bill.
_ADD = (
    upsert(usage)
    .from_select(
        _COLUMNS,
        select(*(bindparam(column.name, type_=column.type) for column in _COLUMNS)).where(
            exists().where(users.c.id == bindparam("owner", type_=BigInteger))
        ),
    )
    .on_conflict_do_nothing(index_elements=["id"])
)

_GROUPS: dict[UsageGroup, ColumnElement[str]] = {
    UsageGroup.DAY: usage.c.day,
    UsageGroup.MODEL: usage.c.model,
    UsageGroup.KEY: usage.c.key_id,
    UsageGroup.CONVERSATION: cast(usage.c.conversation_id, Text),
    UsageGroup.KIND: usage.c.kind,
}
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _sums(group: ColumnElement[str]) -> Select[*tuple[Any, ...]]:
    estimated = case((usage.c.is_estimated, 1), else_=0)
    return (
        select(
            group.label("group"),
            func.count(),
            _total(usage.c.prompt_tokens),
            _total(usage.c.completion_tokens),
            _total(estimated),
            _total(usage.c.cost),
        )
        .where(
            usage.c.owner == bindparam("owner", type_=BigInteger),
            usage.c.at >= bindparam("since", type_=UtcTime),
            usage.c.at < bindparam("until", type_=UtcTime),
        )
        .group_by(group)
    )


_SUMS = {by: _sums(group) for by, group in _GROUPS.items()}


class SqlUsageLog:
    """`UsageLog` in the table `usage`."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer
        self._add = writer.prepare(_ADD)
        self._sums = {by: reader.prepare(sums) for by, sums in _SUMS.items()}

    async def add(self, records: Sequence[UsageRecord]) -> None:
        def script() -> Steps[None]:
            for record in records:
                yield Query(self._add, usage_values(record))

        await self._writer.write(script)

    async def sums(
        self, owner: UserId, by: UsageGroup, *, since: datetime | None = None, until: datetime | None = None
    ) -> Sequence[UsageSum]:
        values = {"owner": owner, "since": since or _BEGINNING, "until": until or _END}
        (found,) = await self._reader.fetch(Query(self._sums[by], values))
        sums = [
            UsageSum(group=group, requests=count, prompt=prompt, completion=completion, estimated=estimated, cost=cost)
            for group, count, prompt, completion, estimated, cost in found
        ]
        return sorted(sums, key=lambda each: (each.group is not None, each.group or ""))  # the same in every database
