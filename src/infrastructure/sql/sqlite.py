"""Connections to SQLite: how each is set up, one that SQLAlchemy drives, readers, and a writer that shares commits.

A read in a thread with `sqlite3` takes 77 µs where SQLAlchemy over aiosqlite takes 486, and waiting for a lock or a
disk in that thread keeps nobody else waiting. (A synchronous write on the loop, while a unit of work is open, would
stall everything until `busy_timeout`.)
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, ClauseElement, Connection, Engine, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from llm_backend.domain.errors import DomainError
from llm_backend.infrastructure.sql.errors import domain_error
from llm_backend.infrastructure.sql.ports import Script, Steps
from llm_backend.infrastructure.sql.statements import Outcome, Prepared, Query, Repeated, Row, prepare
from llm_backend.infrastructure.sql.worker import Failure, Workers
from llm_backend.infrastructure.sql.write_turns import WriteTurns

T = TypeVar("T")

PATIENCE = 5.0  # seconds to wait for another process that writes
TURN_PATIENCE = 30.0  # for another writer in this one, which may be storing the vectors of a whole book
READS_AT_ONCE = 4  # small enough that nobody waits long behind somebody else's big read
WRITES_AT_ONCE = 256

_DIALECT = sqlite.dialect(paramstyle="qmark")
_CACHED_STATEMENTS = 256


class _Cursor(Protocol):
    def execute(self, statement: str, /) -> object: ...

    def close(self) -> None: ...


class Driver(Protocol):
    """A connection of `sqlite3`, or SQLAlchemy's stand-in for one of `aiosqlite`."""

    isolation_level: Any

    def cursor(self) -> _Cursor: ...


Pragmas = Mapping[str, str | int]

_PRAGMAS: Pragmas = {
    "journal_mode": "WAL",  # readers and the writer do not wait for each other
    "synchronous": "FULL",  # a commit is on the disk when it returns
    "foreign_keys": "ON",
    "trusted_schema": "OFF",
}


def create_file(path: Path) -> None:
    """Make the folder and an empty database that only this user can read, if there is none; SQLite gives its other
    files the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def make_private(path: Path) -> None:
    """Let only this user read a database that is known to be ours: it may have been copied here.

    Nothing is opened: closing it again would drop all locks that this process holds on it.
    """
    path = path.resolve()  # beside which SQLite puts the others
    for file in (path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm"))):
        with suppress(FileNotFoundError, PermissionError):  # somebody else's file, which we may use all the same
            if not file.is_symlink():
                file.chmod(0o600)


def sqlite_engine(
    path: Path, *, patience: float = PATIENCE, pragmas: Pragmas | None = None, reading: bool = False
) -> AsyncEngine:
    """An engine whose every transaction takes the write lock when it begins, unless it is for `reading` only.

    A transaction that only asks for it at its first write fails when somebody else has written since its first read.
    """
    pragmas = {**(pragmas or {}), "query_only": "ON"} if reading else pragmas
    engine = create_async_engine(_url("sqlite+aiosqlite", path), pool_size=1, max_overflow=4)
    _set_up_engine(engine.sync_engine, patience, pragmas, "BEGIN" if reading else "BEGIN IMMEDIATE")
    return engine


def threaded_engine(path: Path, *, patience: float = PATIENCE, pragmas: Pragmas | None = None) -> Engine:
    """The same for one thread at a time, and to write."""
    engine = create_engine(_url("sqlite+pysqlite", path), pool_size=1, max_overflow=0)
    _set_up_engine(engine, patience, pragmas, "BEGIN IMMEDIATE")
    return engine


def _url(driver: str, path: Path) -> URL:
    """Not as text, in which question marks and percent signs of the path would mean something."""
    return URL.create(driver, database=str(path))


def _set_up_engine(engine: Engine, patience: float, pragmas: Pragmas | None, begin: str) -> None:
    def set_up_connection(connection: Driver, _: object) -> None:
        set_up(connection, patience=patience, pragmas=pragmas)

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", set_up_connection)
    event.listen(engine, "begin", begin_transaction)


def set_up(connection: Driver, *, patience: float = PATIENCE, pragmas: Pragmas | None = None) -> None:
    """Make a new connection durable, patient and free of the driver's own idea of transactions."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")  # first: the others may have to wait
    for name, value in {**_PRAGMAS, **(pragmas or {})}.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()


def connect(path: Path, *, patience: float = PATIENCE, pragmas: Pragmas | None = None) -> sqlite3.Connection:
    """A connection for the thread that asks."""
    connection = sqlite3.connect(path, cached_statements=_CACHED_STATEMENTS)
    try:
        set_up(connection, patience=patience, pragmas=pragmas)
    except BaseException:
        connection.close()
        raise
    return connection


class _Connected:
    """A connection that is made when it is needed, and made anew after it has failed."""

    def __init__(self, path: Path, patience: float, pragmas: Pragmas) -> None:
        self._path = path
        self._patience = patience
        self._pragmas = pragmas
        self._connection: sqlite3.Connection | None = None

    def connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._path, patience=self._patience, pragmas=self._pragmas)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _ReadingHand(_Connected):
    def carry_out(self, tasks: Sequence[Sequence[Query]]) -> Sequence[object]:
        return [self._look(queries) for queries in tasks]

    def _look(self, queries: Sequence[Query]) -> object:
        try:
            connection = self.connection()
            if len(queries) == 1:
                return [_fetched(connection, queries[0])]
            return _fetched_in_one_moment(connection, queries)
        except sqlite3.Error as error:
            self.close()
            return _failure(error)
        except Exception as error:  # noqa: BLE001 - a value that no database takes harms only the one who gave it
            return Failure(error)


def _fetched(connection: sqlite3.Connection, query: Query) -> Sequence[Row]:
    statement, values = query
    return statement.rows(connection.execute(statement.text, statement.arguments(values)).fetchall())


def _fetched_in_one_moment(connection: sqlite3.Connection, queries: Sequence[Query]) -> list[Sequence[Row]]:
    connection.execute("BEGIN")
    try:
        return [_fetched(connection, query) for query in queries]
    finally:
        connection.execute("COMMIT")


class SqliteReader:
    """Reads what has been committed, in a thread of its own.

    A second one for the same reads would only compete for the interpreter's lock, which SQLite gives up at every row.
    """

    def __init__(self, path: Path, name: str, *, patience: float = PATIENCE, pragmas: Pragmas | None = None) -> None:
        reading = {**(pragmas or {}), "query_only": "ON"}
        self._workers: Workers[Sequence[Query]] = Workers(
            f"sqlite-reader-{name}", lambda: _ReadingHand(path, patience, reading), threads=1, most=READS_AT_ONCE
        )

    def prepare(self, statement: ClauseElement) -> Prepared:
        return prepare(statement, _DIALECT)

    async def fetch(self, *queries: Query) -> Sequence[Sequence[Row]]:
        rows: Sequence[Sequence[Row]] = await self._workers.do(queries)
        return rows

    async def close(self) -> None:
        await self._workers.close()


class _WritingHand(_Connected):
    def __init__(self, path: Path, turns: WriteTurns, patience: float, pragmas: Pragmas) -> None:
        super().__init__(path, patience, pragmas)
        self._turns = turns

    def carry_out(self, tasks: Sequence[Script[object] | Repeated]) -> Sequence[object]:
        try:
            with self._turns.taken_by_thread():
                return self._commit(tasks)
        except (sqlite3.Error, DomainError) as error:
            self.close()  # which undoes what was not committed
            return [_failure(error) for _ in tasks]

    def _commit(self, tasks: Sequence[Script[object] | Repeated]) -> Sequence[object]:
        connection = self.connection()
        connection.execute("BEGIN IMMEDIATE")
        results = [
            _each_tried(connection, task) if isinstance(task, Repeated) else _done_or_undone(connection, task)
            for task in tasks
        ]
        connection.execute("COMMIT")
        return results


def _each_tried(connection: sqlite3.Connection, repeated: Repeated) -> object:
    """Nothing, or the last that went wrong. SQLite undoes by itself what a failed statement has done; a savepoint round
    it, for each of the thousands of checkpoints of running answers, would cost as much as the statement (6 µs instead
    of 3)."""
    failure: Failure | None = None
    statement = repeated.statement
    for values in repeated.values:
        try:
            connection.execute(statement.text, statement.arguments(values))
        except sqlite3.OperationalError:
            raise  # a full disk ends the whole transaction
        except Exception as error:  # noqa: BLE001 - it is passed on to the one whose values they are
            failure = Failure(error)
    return failure


def _done_or_undone(connection: sqlite3.Connection, script: Script[object]) -> object:
    """The script's result, or what it raised, with nothing of it left in the transaction."""
    connection.execute("SAVEPOINT steps")
    try:
        result = _done(connection, script())
    except sqlite3.OperationalError:
        raise  # a full disk ends the whole transaction
    except Exception as error:  # noqa: BLE001 - it is passed on to the one whose script it was
        connection.execute("ROLLBACK TO steps")
        result = Failure(error)
    connection.execute("RELEASE steps")
    return result


def _done(connection: sqlite3.Connection, steps: Steps[T]) -> T:
    outcome: Outcome | None = None
    while True:
        try:
            statement, values = next(steps) if outcome is None else steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        cursor = connection.execute(statement.text, statement.arguments(values))
        outcome = Outcome(statement.rows(cursor.fetchall()), cursor.rowcount)


class SqliteWriter:
    """Writes in a thread of its own, and lets all that is waiting share one commit."""

    def __init__(
        self, path: Path, turns: WriteTurns, *, patience: float = PATIENCE, pragmas: Pragmas | None = None
    ) -> None:
        self._workers: Workers[Script[Any] | Repeated] = Workers(
            "sqlite-writer", lambda: _WritingHand(path, turns, patience, pragmas or {}), threads=1, most=WRITES_AT_ONCE
        )

    def prepare(self, statement: ClauseElement) -> Prepared:
        return prepare(statement, _DIALECT)

    async def write(self, script: Script[T]) -> T:
        result: T = await self._workers.do(script)
        return result

    async def write_each(self, repeated: Repeated) -> None:
        await self._workers.do(repeated)

    async def write_one(self, query: Query) -> None:
        await self._workers.do(Repeated(query.statement, [query.values]))

    async def close(self) -> None:
        await self._workers.close()


def _failure(error: sqlite3.Error | DomainError) -> Failure:
    known = domain_error(error)
    known.__cause__ = error
    return Failure(known)
