"""The old product's SQLite file, which is only read."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from llm_backend.application.ports.old_product import OldDataUnusable, OldUser, Unreadable
from llm_backend.infrastructure.codec.bcrypt_hashes import is_bcrypt

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class Listed(NamedTuple):
    """A conversation as far as it is in the database."""

    id: str
    owner: int
    title: str
    created_at: datetime | None


class OldDatabase:
    """Reads the tables. Raises `OldDataUnusable` when there are none."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def users(self) -> Iterator[OldUser | Unreadable]:
        for row in self._rows("users"):
            yield _user(row)

    def conversations(self) -> Iterator[Listed | Unreadable]:
        for row in self._rows("conversations"):
            yield _listed(row)

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        """With whatever columns there are."""
        with _understood(self._file), closing(self._connected()) as connection:
            cursor = connection.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - one of two names
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self._file.resolve().as_uri()}?mode=ro", uri=True)
        connection.text_factory = _text
        return connection


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


@contextmanager
def _understood(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OldDataUnusable(f"{file} is no database of the old product: {error}") from error


def _user(row: dict[str, Any]) -> OldUser | Unreadable:
    number, name, password = row.get("id"), row.get("username"), row.get("password")
    if not isinstance(number, int) or not isinstance(name, str):
        return Unreadable(f"user {number!r}", "it has no id or no name")
    if not isinstance(password, str) or not is_bcrypt(password):
        return Unreadable(f"user {number} ({name!r})", "its password is not a bcrypt hash of moderate cost")
    return OldUser(id=number, username=name, password=password)


def _listed(row: dict[str, Any]) -> Listed | Unreadable:
    number, owner = str(row.get("id")), row.get("user_id")
    if not _INTEGER.fullmatch(number) or not isinstance(owner, int):
        return Unreadable(f"conversation {number[:40]!r}", "its id or its user is no number")
    title = row.get("title")
    created_at = moment(row.get("create_time", row.get("created_time")))
    return Listed(number, owner, title if isinstance(title, str) else "", created_at)


def moment(value: object) -> datetime | None:
    """Seconds since 1970, as a number or in digits, or RFC 3339; nothing if it is neither."""
    match value:
        case bool():
            return None
        case int() if 0 < value < _LATEST:
            return datetime.fromtimestamp(value, UTC)
        case str() if _INTEGER.fullmatch(value):
            return moment(int(value))
        case str():
            return _written(value)
        case _:
            return None


def _written(value: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
