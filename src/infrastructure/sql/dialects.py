"""Where SQLite and PostgreSQL differ."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.types import TypeDecorator

# SQLite numbers rows by itself only in a column that is called exactly INTEGER; it holds 64 bits there too.
Serial = BigInteger().with_variant(Integer(), "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """A moment: in UTC in the database (SQLite knows no time zones), timezone-aware outside."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class IsMember(ColumnElement[bool]):
    """`column` is in the JSON array of texts that is bound to `members`: one statement for lists of any length."""

    inherit_cache = False

    def __init__(self, column: ColumnElement[str], members: BindParameter[str]) -> None:
        self.column = column
        self.members = members


@compiles(IsMember, "sqlite")
def _is_member_in_sqlite(element: IsMember, compiler: SQLCompiler, **options: Any) -> str:
    column, members = compiler.process(element.column, **options), compiler.process(element.members, **options)
    return f"{column} IN (SELECT value FROM json_each({members}))"  # noqa: S608 - both are made by the compiler


@compiles(IsMember, "postgresql")
def _is_member_in_postgresql(element: IsMember, compiler: SQLCompiler, **options: Any) -> str:
    column, members = compiler.process(element.column, **options), compiler.process(element.members, **options)
    return f"{column} IN (SELECT json_array_elements_text(CAST({members} AS json)))"
