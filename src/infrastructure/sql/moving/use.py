"""Whether servers are at work on a database that several may share: they leave signs of life in it."""

from collections.abc import Mapping
from typing import TypeAlias

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.infrastructure.sql.errors import translated
from llm_backend.infrastructure.sql.rows import writers

Beats: TypeAlias = Mapping[str, int]


async def beats(engine: AsyncEngine) -> Beats:
    """The signs of life so far; those of the dead stay for a while. Raises `DatabaseUnavailable`."""
    with translated():
        async with engine.connect() as connection:
            found = await connection.execute(select(writers.c.id, writers.c.beat))
    return dict(found.all())


def living(before: Beats, after: Beats) -> bool:
    """Whether anybody has given a sign of life between the two."""
    return any(before.get(writer) != beat for writer, beat in after.items())
