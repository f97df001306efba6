"""Where SQLite and PostgreSQL differ."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.types import TypeDecorator

__all__ = ["IsMember", "Serial", "TurnOfKey", "UtcTime", "upsert"]  # `upsert` is understood by both

# SQLite numbers rows by itself only in a column that is called exactly INTEGER; it holds 64 bits there too.
Serial = BigInteger().with_variant(Integer(), "sqlite")


class UtcTime(TypeDecorator[datetime]):
    """A moment: in UTC in the database, timezone-aware outside.

    SQLite knows no times. It gets texts of one length that sort like what they stand for, and that one call reads
    back, offset included: a fifth of what SQLAlchemy's own format costs, in every row of every list.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        return _utc_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return _moment if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _utc_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(" ", "microseconds")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


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


class TurnOfKey(ColumnElement[None]):
    """Selecting it waits until no other transaction is at work under the same key of the same owner.

    So whoever comes second sees what the first has recorded, instead of stumbling over it at the end. In SQLite there
    is one writer at a time anyway.
    """

    inherit_cache = False

    def __init__(self, owner: BindParameter[int], key: BindParameter[str]) -> None:
        self.bound = owner, key  # `key` itself means something else to SQLAlchemy


@compiles(TurnOfKey, "sqlite")
def _turn_in_sqlite(element: TurnOfKey, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "NULL"


@compiles(TurnOfKey, "postgresql")
def _turn_in_postgresql(element: TurnOfKey, compiler: SQLCompiler, **options: Any) -> str:
    owner, key = (compiler.process(parameter, **options) for parameter in element.bound)
    return f"pg_advisory_xact_lock(hashtextextended({key}, {owner}))"
