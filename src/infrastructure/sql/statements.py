"""Statements compiled once, for drivers that are called without SQLAlchemy in between.

A request for a list of 50 takes 1176 µs of CPU through SQLAlchemy Core and 291 with the driver alone. So hot statements
are written with SQLAlchemy, compiled when the program starts, and carried out by the driver itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, SelectBase
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Convert = Callable[[Any], Any]
Row = tuple[Any, ...]


class _Parameter(NamedTuple):
    name: str
    default: Any
    convert: Convert | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as the driver wants it."""

    text: str
    parameters: tuple[_Parameter, ...]
    converters: tuple[tuple[int, Convert], ...]
    returns_rows: bool

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values by position, as the driver wants them."""
        arguments: list[Any] = []
        for name, default, convert in self.parameters:
            value = values.get(name, default)
            arguments.append(value if convert is None else convert(value))
        return arguments

    def rows(self, raw: Sequence[Row]) -> Sequence[Row]:
        """The driver's rows with every value as its column's type says."""
        for index, convert in self.converters:
            raw = [(*row[:index], convert(row[index]), *row[index + 1 :]) for row in raw]
        return raw


class Query(NamedTuple):
    """A statement and the values of its parameters."""

    statement: Prepared
    values: Mapping[str, Any] = {}


class Repeated(NamedTuple):
    """A statement to be carried out once for each of several sets of values."""

    statement: Prepared
    values: Sequence[Mapping[str, Any]]


class Outcome(NamedTuple):
    """The rows that a statement returned, or the number of those it changed."""

    rows: Sequence[Row]
    changed: int


@lru_cache(maxsize=1024)  # several times as many as there are, in two dialects
def prepare(statement: ClauseElement, dialect: Dialect) -> Prepared:
    """Compile it for a dialect with positional parameters: once, however many databases are opened."""
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    names = compiled.positiontup or []
    columns = statement.selected_columns if isinstance(statement, SelectBase) else ()
    found = ((index, _reader(column.type, dialect)) for index, column in enumerate(columns))
    return Prepared(
        text=str(compiled),
        parameters=tuple(_parameter(compiled, name, dialect) for name in names),
        converters=tuple((index, convert) for index, convert in found if convert),
        returns_rows=isinstance(statement, SelectBase),
    )


def _parameter(compiled: SQLCompiler, name: str, dialect: Dialect) -> _Parameter:
    convert = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
    return _Parameter(name, compiled.params.get(name), convert)


def _reader(type_: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return type_.dialect_impl(dialect).result_processor(dialect, None)
