"""From one database into another, and the comparison of the two."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from llm_backend.infrastructure.sql.moving.snapshot import Snapshot
from llm_backend.infrastructure.sql.moving.tables import Tally, decode_key, encode_key, moved_tables
from llm_backend.infrastructure.sql.moving.target import Target


class Copied(NamedTuple):
    """Rows of a table that have been brought in this attempt, so far."""

    table: str
    rows: int


class Difference(NamedTuple):
    """A table here and there."""

    table: str
    source: Tally
    target: Tally


async def copy_tables(source: Snapshot, target: Target) -> AsyncGenerator[Copied, None]:
    """Each table from where the last attempt has come to; tells after each page."""
    for table in moved_tables():
        reached, rows = target.reached(table), 0
        after = decode_key(table, reached) if reached else None
        async with aclosing(source.pages(table, after)) as pages:
            async for page in pages:
                await target.add(table, page, reached=encode_key(table, page[-1]))
                rows += len(page)
                yield Copied(table.name, rows)


async def differences(source: Snapshot, target: Snapshot) -> AsyncGenerator[Difference, None]:
    """Every table of both, added up in the same way."""
    for table in moved_tables():
        yield Difference(table.name, await source.tally(table), await target.tally(table))
