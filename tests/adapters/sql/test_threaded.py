"""Units of work in a thread: in order, whoever goes away, and over with a clear word."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import CursorResult, text

from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.infrastructure.sql.sqlite import create_file, threaded_engine
from llm_backend.infrastructure.sql.threaded import ThreadedConnections

# Takes a while, and writes nothing before it is through.
MUCH = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
    "INSERT INTO numbers SELECT count(*) FROM n"
)


@pytest.fixture
async def connections(tmp_path: Path) -> AsyncIterator[ThreadedConnections]:
    path = tmp_path / "numbers.db"
    create_file(path)
    opened = ThreadedConnections(threaded_engine(path))
    async with opened.connected() as connection:
        await connection.execute(text("CREATE TABLE numbers (number INTEGER)"))
        await connection.commit()
    yield opened
    await opened.aclose()


async def numbers(connections: ThreadedConnections) -> list[int]:
    async with connections.connected() as connection:
        found: CursorResult[int] = await connection.execute(text("SELECT number FROM numbers"))
        return [row[0] for row in found]


async def insert(connections: ThreadedConnections) -> None:
    async with connections.connected() as connection:
        await connection.execute(text("INSERT INTO numbers VALUES (1)"))
        await connection.commit()


async def test_what_was_not_committed_is_undone(connections: ThreadedConnections) -> None:
    async with connections.connected() as connection:
        await connection.execute(text("INSERT INTO numbers VALUES (1)"))

    assert await numbers(connections) == []


async def test_whoever_is_cancelled_amid_a_statement_leaves_nothing_to_the_next(
    connections: ThreadedConnections,
) -> None:
    begun = asyncio.Event()

    async def write_much() -> None:
        async with connections.connected() as connection:
            begun.set()
            await connection.execute(MUCH)
            await connection.commit()

    writing = asyncio.create_task(write_much())
    await begun.wait()
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await insert(connections)

    assert await numbers(connections) == [1]


async def test_once_closed_it_is_unavailable(connections: ThreadedConnections) -> None:
    await connections.aclose()

    with pytest.raises(DatabaseUnavailable):
        await insert(connections)
