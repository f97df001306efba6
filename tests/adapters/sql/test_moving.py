"""Everything from either kind of database into either kind, page by page, and what happens when that is cut off."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Table, Text, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from llm_backend.infrastructure.sql import SqlStore, migrate_sqlite
from llm_backend.infrastructure.sql.dialects import UtcTime
from llm_backend.infrastructure.sql.migrating import UnfinishedMove, migrate
from llm_backend.infrastructure.sql.moving import (
    Snapshot,
    Tallying,
    Target,
    TargetNotEmpty,
    UnknownTable,
    beats,
    copy_tables,
    decode_rows,
    differences,
    encode_rows,
    living,
    moved_tables,
)
from llm_backend.infrastructure.sql.moving.snapshot import MOST_ROWS, PAGE_CHARACTERS
from llm_backend.infrastructure.sql.postgres import postgres_engine
from llm_backend.infrastructure.sql.rows import conversations, messages, metadata, users, writers
from llm_backend.infrastructure.sql.sqlite import sqlite_engine
from tests.databases import Databases

ROWS = 100  # in each table, so that each takes several pages
KINDS = [(source, target) for source in ("sqlite", "postgres") for target in ("sqlite", "postgres")]


class Database:
    """One to write to and to read from."""

    def __init__(self, engine: AsyncEngine, reading: AsyncEngine) -> None:
        self.engine = engine
        self.reading = reading

    async def insert(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(insert(table), rows)

    async def count(self, table: Table) -> int:
        async with self.reading.connect() as connection:
            found: int = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        return found


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class NewDatabase:
    """Makes empty ones, with all tables."""

    def __init__(self, stack: AsyncExitStack, databases: Databases, folder: Path) -> None:
        self._stack = stack
        self._databases = databases
        self._folder = folder
        self._made = 0

    async def __call__(self, kind: str) -> Database:
        self._made += 1
        if kind == "sqlite":
            file = self._folder / f"{self._made}.db"
            await migrate_sqlite(file)
            made = Database(sqlite_engine(file), sqlite_engine(file, reading=True))
        else:
            server = await self._stack.enter_async_context(self._databases.new())
            made = Database(postgres_engine(server), postgres_engine(server))
        for engine in (made.engine, made.reading):
            self._stack.push_async_callback(engine.dispose)
        return made


@pytest.fixture
def new_database(stack: AsyncExitStack, databases: Databases, tmp_path: Path) -> NewDatabase:
    return NewDatabase(stack, databases, tmp_path)


async def filled(database: Database, *, rows: int = ROWS) -> Database:
    for table in metadata.sorted_tables:
        await database.insert(table, [a_row(table, number) for number in range(1, rows + 1)])
    return database


def a_row(table: Table, number: int) -> dict[str, Any]:
    """Something in every column that goes with its type; what refers to something refers to its row `number`."""
    values: dict[str, Any] = {}
    for column in table.columns:
        for reference in column.foreign_keys:
            values[column.name] = a_row(reference.column.table, number)[reference.column.name]
        if column.name not in values:
            values[column.name] = a_value(column.type, f"{table.name}.{column.name}", number)
    return values


def a_value(kind: object, name: str, number: int) -> object:
    match kind:
        case UtcTime():
            zone = timezone(timedelta(hours=number % 12))
            return datetime(2031, 5, 6, 7, 8, 9, 120000 + number, tzinfo=zone)
        case Boolean():
            return number % 2 == 0
        case BigInteger():
            return 2**53 - number
        case Integer():
            return number
        case LargeBinary():
            return bytes([number % 256, 0, 255])
        case Text():
            return f"{name} {number} ' \" \\ \t\n 知识库 👩\u200d👧"
        case _:
            raise AssertionError(f"{name} has a type that this test does not know: {kind!r}")


async def copied(source: Database, target: Database, *, pages: int | None = None, name: str = "source") -> int:
    """How many pages; after so many it is cut off."""
    filling, count = await Target.open(target.engine, name), 0
    async with Snapshot.open(source.reading) as snapshot, aclosing(copy_tables(snapshot, filling)) as progress:
        async for _ in progress:
            count += 1
            if count == pages:
                return count
    await filling.finish()
    return count


async def different(source: Database, target: Database) -> list[str]:
    async with Snapshot.open(source.reading) as here, Snapshot.open(target.reading) as there:
        return [pair.table async for pair in differences(here, there) if pair.source != pair.target]


@pytest.mark.parametrize(("source_kind", "target_kind"), KINDS)
async def test_every_table_arrives_whole(new_database: NewDatabase, source_kind: str, target_kind: str) -> None:
    source, target = await filled(await new_database(source_kind)), await new_database(target_kind)

    await copied(source, target)

    assert await different(source, target) == []
    assert {await target.count(table) for table in moved_tables()} == {ROWS}


@pytest.mark.parametrize(("source_kind", "target_kind"), KINDS)
async def test_new_rows_are_numbered_behind_those_that_came(
    new_database: NewDatabase, source_kind: str, target_kind: str
) -> None:
    source, target = await filled(await new_database(source_kind)), await new_database(target_kind)

    await copied(source, target)
    row = a_row(conversations, 1) | {"id": 7}
    await target.insert(conversations, [{name: value for name, value in row.items() if name != "sequence"}])

    async with target.reading.connect() as connection:
        newest = await connection.execute(select(conversations.c.id).order_by(conversations.c.sequence.desc()).limit(1))
        assert newest.scalar_one() == 7


@pytest.mark.parametrize(("source_kind", "target_kind"), KINDS)
async def test_what_was_cut_off_goes_on_from_there(
    new_database: NewDatabase, source_kind: str, target_kind: str
) -> None:
    source, target = await filled(await new_database(source_kind)), await new_database(target_kind)
    whole = await copied(source, await new_database(target_kind))

    for _ in range(3):
        await copied(source, target, pages=whole // 4)
    rest = await copied(source, target)

    assert rest <= whole - 3 * (whole // 4) + len(moved_tables())
    assert await different(source, target) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_what_is_only_half_there_is_not_served(new_database: NewDatabase, kind: str) -> None:
    source, target = await filled(await new_database("sqlite")), await new_database(kind)

    await copied(source, target, pages=5)
    with pytest.raises(UnfinishedMove):
        await migrate(target.engine)
    await copied(source, target)

    assert not await migrate(target.engine)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_target_with_something_in_it_stays_as_it_is(new_database: NewDatabase, kind: str) -> None:
    source, target = await filled(await new_database("sqlite")), await new_database(kind)
    await target.insert(users, [a_row(users, 5)])

    with pytest.raises(TargetNotEmpty, match="in users"):
        await copied(source, target)

    assert await target.count(users) == 1
    assert not await migrate(target.engine)


async def test_what_comes_from_somewhere_else_does_not_go_on_with_it(new_database: NewDatabase) -> None:
    source, target = await filled(await new_database("sqlite")), await new_database("sqlite")
    await copied(source, target, pages=5)

    with pytest.raises(TargetNotEmpty, match="somewhere else"):
        await copied(source, target, name="another source")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_rows_that_contradict_each_other_are_refused_and_none_of_the_page_is_kept(
    new_database: NewDatabase, kind: str
) -> None:
    target = await new_database(kind)
    filling = await Target.open(target.engine, "source")
    rows = [tuple(a_row(users, number).values()) for number in (1, 2, 1)]

    with pytest.raises(TargetNotEmpty):
        await filling.add(users, rows, reached=b"3")

    assert await target.count(users) == 0
    assert (await Target.open(target.engine, "source")).reached(users) is None


@pytest.mark.parametrize("change", ["a text", "a row less", "a row more"])
async def test_a_difference_of_whatever_size_is_found(new_database: NewDatabase, change: str) -> None:
    source, target = await filled(await new_database("sqlite")), await new_database("sqlite")
    await copied(source, target)

    async with target.engine.begin() as connection:
        if change == "a text":
            await connection.execute(update(messages).where(messages.c.number == 7).values(text="x"))
        elif change == "a row less":
            await connection.execute(delete(messages).where(messages.c.number == 7))
        else:
            await connection.execute(insert(messages), [a_row(messages, 1) | {"number": 1000}])

    assert await different(source, target) == ["messages"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_snapshot_stands_still_and_stands_in_nobodys_way(new_database: NewDatabase, kind: str) -> None:
    source = await filled(await new_database(kind))

    async with Snapshot.open(source.reading) as snapshot:
        await source.insert(users, [a_row(users, ROWS + 1)])
        seen = await snapshot.tally(users)

    assert seen.rows == ROWS
    assert await source.count(users) == ROWS + 1


async def test_large_rows_come_in_small_pages(new_database: NewDatabase) -> None:
    source = await new_database("sqlite")
    await source.insert(users, [a_row(users, 1)])
    await source.insert(conversations, [a_row(conversations, 1)])
    large = "x" * (PAGE_CHARACTERS // 4)
    await source.insert(messages, [a_row(messages, 1) | {"number": number, "text": large} for number in range(40)])

    async with Snapshot.open(source.reading) as snapshot:
        sizes = [len(page) async for page in snapshot.pages(messages)]

    assert sum(sizes) == 40
    assert max(sizes[1:]) <= 4


async def test_small_rows_come_in_large_pages_that_have_a_limit(new_database: NewDatabase) -> None:
    source = await new_database("sqlite")
    await source.insert(writers, [{"id": f"{number}", "beat": 1} for number in range(3 * MOST_ROWS)])

    async with Snapshot.open(source.reading) as snapshot:
        sizes = [len(page) async for page in snapshot.pages(writers)]

    assert sum(sizes) == 3 * MOST_ROWS
    assert max(sizes) == MOST_ROWS


async def test_signs_of_life_tell_the_living_and_stay_where_they_are(
    new_database: NewDatabase, sqlite_store: SqlStore, path: Path
) -> None:
    reading = sqlite_engine(path, reading=True)
    before = await beats(reading)
    await sqlite_store.leases.beat()
    between = await beats(reading)
    await sqlite_store.leases.beat()
    after = await beats(reading)
    await reading.dispose()

    assert (living(before, between), living(between, after), living(after, after), living(after, {})) == (
        True,
        True,
        False,
        False,
    )
    assert writers not in moved_tables()


def test_sums_go_by_no_order_and_by_no_time_zone() -> None:
    noon = datetime(2031, 5, 6, 12, tzinfo=UTC)
    rows = [(1, "a", noon), (2, "b", None)]
    elsewhere = [(2, "b", None), (1, "a", noon.astimezone(timezone(timedelta(hours=8))))]
    sums = []
    for some in (rows, elsewhere, [(1, "b", noon), (2, "a", None)]):
        tallying = Tallying()
        tallying.add(some)
        sums.append(tallying.result())

    assert sums[0] == sums[1] != sums[2]


def test_rows_come_back_from_their_form_outside() -> None:
    rows = [tuple(a_row(messages, number).values()) for number in range(1, 4)]

    assert decode_rows(messages, encode_rows(rows)) == rows


@pytest.mark.parametrize("content", [b"", b"\xc1", encode_rows([(1, 2)]), b"\x01", encode_rows([("x",)])[:-1]])
def test_what_are_no_rows_of_a_table_are_refused(content: bytes) -> None:
    with pytest.raises(UnknownTable):
        decode_rows(messages, content)
