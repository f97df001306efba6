"""A database as it was at one moment, read page by page while others go on writing."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Self

from sqlalchemy import BigInteger, Select, Table, bindparam, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from llm_backend.infrastructure.sql.errors import translated
from llm_backend.infrastructure.sql.moving.tables import Page, Row, Tally, Tallying, key_of
from llm_backend.infrastructure.sql.rows import users
from llm_backend.infrastructure.sql.sealed_secrets import SECRETS_BY_KEY

PAGE_CHARACTERS = 2 * 1024 * 1024  # of texts and bytes; what one page aims at, and so what memory it takes
FIRST_PAGE = 16  # rows, before it is known how large they are
MOST_ROWS = 5000


class Snapshot:
    """All tables as of the moment in which it was opened.

    In SQLite that is a read transaction, which keeps nobody from writing; only its log grows until the end.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, engine: AsyncEngine) -> AsyncIterator[Self]:
        """`engine` is one that only reads. Raises `DatabaseUnavailable`, like all that follows."""
        async with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with translated():
                await connection.execute(select(users.c.id).limit(1))  # the moment is that of the first read
            yield cls(connection)

    async def pages(self, table: Table, after: Row | None = None) -> AsyncGenerator[Page, None]:
        """All rows in the order of the primary key, or those behind a key."""
        most = FIRST_PAGE
        while page := await self._page(table, after, most):
            yield page
            after = key_of(table, page[-1])
            most = _next_size(page)

    async def tally(self, table: Table) -> Tally:
        tallying = Tallying()
        async with aclosing(self.pages(table)) as pages:
            async for page in pages:
                tallying.add(page)
        return tallying.result()

    async def secrets_by_key(self) -> Mapping[str, int]:
        """How many secrets are sealed with each key id that has any."""
        with translated():
            found = await self._connection.execute(SECRETS_BY_KEY)
        return {key_id: count for key_id, count in found.all() if key_id is not None}

    async def _page(self, table: Table, after: Row | None, most: int) -> Page:
        values: dict[str, object] = {"most_rows": most}
        if after is not None:
            values |= {_after(name): value for name, value in zip(table.primary_key.columns.keys(), after, strict=True)}
        with translated():
            result = await self._connection.execute(_statement(table, further=after is not None), values)
        return [tuple(row) for row in result]


def _statement(table: Table, *, further: bool) -> Select[*tuple[object, ...]]:
    key = list(table.primary_key.columns)
    statement = select(table).order_by(*key).limit(bindparam("most_rows", type_=BigInteger))
    if not further:
        return statement
    reached = [bindparam(_after(column.name), type_=column.type) for column in key]
    return statement.where(tuple_(*key) > tuple_(*reached))


def _after(column: str) -> str:
    return f"after_{column}"


def _next_size(page: Page) -> int:
    """So many rows of the size of these as fill a page."""
    characters = sum(len(value) for row in page for value in row if isinstance(value, str | bytes))
    return max(1, min(MOST_ROWS, len(page) * PAGE_CHARACTERS // max(1, characters)))
