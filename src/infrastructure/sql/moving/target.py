"""A database that is being filled, and the note in it of how far that has come."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, bindparam, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from llm_backend.domain.errors import Conflict
from llm_backend.infrastructure.sql.errors import Violation, translated
from llm_backend.infrastructure.sql.migrating import UNFINISHED
from llm_backend.infrastructure.sql.moving.tables import Page, moved_tables

# The row without a name says where everything comes from. Not among `rows`: it is there only while it is needed.
_note = Table(
    UNFINISHED, MetaData(), Column("name", Text, primary_key=True), Column("reached", LargeBinary, nullable=False)
)
_SOURCE = ""
_REACHED = insert(_note).values(name=bindparam("table"), reached=bindparam("reached_now"))
_FORGET = delete(_note).where(_note.c.name == bindparam("table"))


class TargetNotEmpty(Conflict):
    """What is there must not be mixed with what comes."""

    code = "target_not_empty"
    default_message = "There is something in the target already; it must be empty"


class Target:
    """Rows that are added together with the note of them, so that whoever is cut off can go on from there.

    Nobody opens the database for serving as long as the note is in it.
    """

    def __init__(self, engine: AsyncEngine, reached: Mapping[str, bytes]) -> None:
        self._engine = engine
        self._reached = dict(reached)

    @classmethod
    async def open(cls, engine: AsyncEngine, source: str) -> Self:
        """Make the note, or take up that of an earlier attempt from the same `source`.

        The schema must be there. Raises `TargetNotEmpty` and, like all that follows, `DatabaseUnavailable` or
        `StorageFull`.
        """
        async with _transaction(engine) as connection:
            if not await _has_note(connection):
                await _refuse_if_filled(connection)
                await connection.run_sync(_note.metadata.create_all)
                await _write_down(connection, _SOURCE, source.encode())
            found = await connection.execute(select(_note.c.name, _note.c.reached))
            reached = dict(found.all())
        if reached.pop(_SOURCE, None) != source.encode():
            raise TargetNotEmpty("The target holds what was being brought from somewhere else; empty it first")
        return cls(engine, reached)

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier attempt has brought some rows."""
        return bool(self._reached)

    def reached(self, table: Table) -> bytes | None:
        """What was written down with the last rows of that table."""
        return self._reached.get(table.name)

    async def add(self, table: Table, rows: Page, *, reached: bytes) -> None:
        """All of them and the note, or nothing."""
        async with _transaction(self._engine) as connection:
            await _write_down(connection, table.name, reached)
            await _insert(connection, table, rows)
        self._reached[table.name] = reached

    async def finish(self) -> None:
        """New rows get numbers behind those that came, and the note is gone."""
        async with _transaction(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                for table in moved_tables():
                    await _count_on(connection, table)
            await connection.run_sync(_note.metadata.drop_all)
        async with _transaction(self._engine) as connection:
            await connection.execute(text("ANALYZE"))  # plans go by it, and nobody else does it soon


async def _has_note(connection: AsyncConnection) -> bool:
    return await connection.run_sync(lambda sync: sync.dialect.has_table(sync, UNFINISHED))


async def _refuse_if_filled(connection: AsyncConnection) -> None:
    for table in moved_tables():
        if (await connection.execute(select(1).select_from(table).limit(1))).first():
            raise TargetNotEmpty(f"There is something in the target already, in {table.name}; it must be empty")


async def _write_down(connection: AsyncConnection, name: str, reached: bytes) -> None:
    await connection.execute(_FORGET, {"table": name})
    await connection.execute(_REACHED, {"table": name, "reached_now": reached})


async def _insert(connection: AsyncConnection, table: Table, rows: Page) -> None:
    names = table.columns.keys()
    if connection.dialect.name == "postgresql":
        await _copy_in(connection, table.name, names, rows)
    else:
        await connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])


async def _copy_in(connection: AsyncConnection, table: str, names: Sequence[str], rows: Page) -> None:
    """By the driver itself, in the same transaction: COPY takes a fraction of the time of INSERT."""
    from llm_backend.infrastructure.sql.postgres import translated_driver

    driver: Any = (await connection.get_raw_connection()).driver_connection
    with translated_driver():
        await driver.copy_records_to_table(table, records=rows, columns=names)


async def _count_on(connection: AsyncConnection, table: Table) -> None:
    column = table.autoincrement_column
    if column is not None:
        next_number = func.coalesce(select(func.max(column)).scalar_subquery(), 0) + 1
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        await connection.execute(select(func.setval(sequence, next_number, False)))


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        with translated():
            async with engine.begin() as connection:
                yield connection
    except Violation as error:
        raise TargetNotEmpty("What is in the target contradicts what is brought; empty it first") from error
