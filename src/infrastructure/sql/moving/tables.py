"""What moves: which tables, their rows in a form that both kinds of database share, and sums that tell them apart.

A row is a tuple of what the column types make of it – text, bytes, numbers, truth, moments, nothing – in the order of
the columns. So whatever is in `rows.metadata` moves, with no word about it here.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import Table

from llm_backend.domain.errors import DomainError
from llm_backend.infrastructure.sql.rows import OF_PROCESSES, metadata

Row: TypeAlias = tuple[Any, ...]
Page: TypeAlias = Sequence[Row]

_DIGEST_BYTES = 16

# Moments become instants, whatever their offset: the form is the same for equal rows of either database.
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode


class UnknownTable(DomainError):
    """Rows for a table that is none of ours, or of another shape."""

    code = "unknown_table"
    default_message = "There are rows for a table that this version does not have"


class Tally(NamedTuple):
    """How many rows, and a sum over all that is in them, in whatever order."""

    rows: int
    checksum: str


def moved_tables() -> Sequence[Table]:
    """Those that others refer to come first. What is about running processes stays where these are."""
    return [table for table in metadata.sorted_tables if not table.info.get(OF_PROCESSES)]


def moved_table(name: str) -> Table:
    """Raises `UnknownTable`."""
    for table in moved_tables():
        if table.name == name:
            return table
    raise UnknownTable


def key_of(table: Table, row: Row) -> Row:
    """Its primary key."""
    return tuple(value for value, column in zip(row, table.columns, strict=True) if column.primary_key)


def encode_key(table: Table, row: Row) -> bytes:
    """Its primary key, to be noted down."""
    return _encode(key_of(table, row))


def decode_key(table: Table, noted: bytes) -> Row:
    """What `encode_key` has noted down."""
    key = msgspec.msgpack.decode(noted, type=tuple[Any, ...])
    assert len(key) == len(table.primary_key.columns)
    return key


def encode_rows(rows: Page) -> bytes:
    """The form in which rows are kept outside of databases."""
    return _encode(rows)


def decode_rows(table: Table, content: bytes) -> Page:
    """Raises `UnknownTable` when these are no rows of that table."""
    try:
        rows = _decode(content)
    except msgspec.MsgspecError as error:
        raise UnknownTable from error
    if any(len(row) != len(table.columns) for row in rows):
        raise UnknownTable
    return rows


class Tallying:
    """Adds up rows as they come by.

    A sum of one hash for each row goes by no order, as the two databases sort texts differently.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._sum = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            digest = blake2b(_encode(row), digest_size=_DIGEST_BYTES).digest()
            self._sum = (self._sum + int.from_bytes(digest)) % (1 << 8 * _DIGEST_BYTES)
            self._rows += 1

    def result(self) -> Tally:
        return Tally(self._rows, self._sum.to_bytes(_DIGEST_BYTES).hex())
