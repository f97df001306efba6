"""The writer of the journal on PostgreSQL: all that is waiting shares one commit.

A commit waits for the disk, which with hundreds of running answers is nearly all that writing costs. One connection
also means that the answers of one process never wait for each other's locks.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self, TypeVar

import asyncpg
from sqlalchemy import ClauseElement

from llm_backend.application.ending import LAST_WORD, ended_within
from llm_backend.domain.errors import DatabaseUnavailable, DomainError
from llm_backend.infrastructure.sql.errors import TransactionConflict, Violation
from llm_backend.infrastructure.sql.ports import Script, Steps
from llm_backend.infrastructure.sql.postgres import carried_out, prepare_for_postgres, translated_driver
from llm_backend.infrastructure.sql.statements import Outcome, Prepared, Query, Repeated
from llm_backend.infrastructure.sql.worker import Failure

T = TypeVar("T")
Task = Script[Any] | Repeated
Connect = Callable[[], Awaitable[Any]]

WRITES_AT_ONCE = 256
TRIES = 3  # of a script that meets somebody else's transaction


@dataclass(slots=True, eq=False)
class _Job:
    task: Task
    future: "asyncio.Future[Any]"
    tries: int = 0


class PostgresWriter:
    """Writes on a connection of its own, which is made when it is needed, and made anew after it was lost."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: Any = None
        self._waiting: deque[_Job] = deque()
        self._called = asyncio.Event()
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(cls, connect: Connect) -> AsyncIterator[Self]:
        """What is waiting at the end is still written, unless the server takes longer than `LAST_WORD` for it."""
        writer = cls(connect)
        work = asyncio.create_task(writer._work())
        try:
            yield writer
        finally:
            writer._close()
            if await ended_within(LAST_WORD, work):
                work.result()

    def prepare(self, statement: ClauseElement) -> Prepared:
        return prepare_for_postgres(statement)

    async def write(self, script: Script[T]) -> T:
        result: T = await self._do(script)
        return result

    async def write_each(self, repeated: Repeated) -> None:
        await self._do(repeated)

    async def write_one(self, query: Query) -> None:
        await self._do(Repeated(query.statement, [query.values]))

    async def _do(self, task: Task) -> Any:
        """Have it done; a caller that goes away does not undo it."""
        if self._closed:
            raise DatabaseUnavailable
        job = _Job(task, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._called.set()
        return await job.future

    def _close(self) -> None:
        self._closed = True
        self._called.set()

    async def _work(self) -> None:
        jobs: Sequence[_Job] = ()
        try:
            while jobs := await self._next():
                self._settle(jobs, await self._all_carried_out([job.task for job in jobs]))
        finally:
            self._disconnect()
            for job in (*jobs, *self._waiting):  # when it was cut off: nobody shall wait for ever
                if not job.future.done():
                    _wake(job.future, Failure(DatabaseUnavailable()))

    async def _next(self) -> list[_Job]:
        """What is there, or the first that comes; nothing when it is time to end."""
        while not self._waiting and not self._closed:
            self._called.clear()
            await self._called.wait()
        return [self._waiting.popleft() for _ in range(min(WRITES_AT_ONCE, len(self._waiting)))]

    def _settle(self, jobs: Sequence[_Job], results: Sequence[object]) -> None:
        """Wake those who wait, but for those whose task is worth another try: it comes next."""
        for job, result in reversed(list(zip(jobs, results, strict=True))):
            job.tries += 1
            if _may_succeed_yet(result) and job.tries < TRIES:
                self._waiting.appendleft(job)
            elif not job.future.done():  # or it was cancelled
                _wake(job.future, result)

    async def _all_carried_out(self, tasks: Sequence[Task]) -> Sequence[object]:
        """One result or `Failure` for each task, in order."""
        try:
            with translated_driver():
                return await (self._share_commit(tasks) if len(tasks) > 1 else self._alone(tasks[0]))
        except Exception as error:  # noqa: BLE001 - everybody's writes depend on this loop, and somebody waits for each
            self._disconnect()  # which undoes what was not committed
            return [Failure(error)] * len(tasks)

    async def _alone(self, task: Task) -> Sequence[object]:
        """A single query goes without a word about transactions: on a quiet server that is most."""
        if isinstance(task, Repeated) and len(task.values) == 1:
            connection = await self._connected()
            return [await _or_failure(connection, _done(connection, task))]
        connection = await self._begun()
        result = await _or_failure(connection, _done(connection, task))
        await (connection.execute("ROLLBACK") if isinstance(result, Failure) else _commit(connection))
        return [result]

    async def _share_commit(self, tasks: Sequence[Task]) -> Sequence[object]:
        """All in one transaction, and only when one of them fails, each behind a savepoint: two more round trips for
        every task would be a third of what it costs."""
        connection = await self._begun()
        results = await _or_failure(connection, _hopefully_done(connection, tasks))
        if isinstance(results, Failure):
            await connection.execute("ROLLBACK; BEGIN")
            results = [await _in_savepoint(connection, task) for task in tasks]
        await _commit(connection)
        return results

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        return self._connection

    async def _begun(self) -> Any:
        """A connection in a new transaction. Where one was lost unnoticed, nothing has happened yet, and another takes
        its place."""
        connection = await self._connected()
        try:
            with translated_driver():
                await connection.execute("BEGIN")
        except DatabaseUnavailable:
            self._disconnect()
            connection = await self._connected()
            await connection.execute("BEGIN")
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _wake(future: "asyncio.Future[Any]", result: object) -> None:
    if isinstance(result, Failure):
        future.set_exception(result.error)
    else:
        future.set_result(result)


def _may_succeed_yet(result: object) -> bool:
    """Somebody else's transaction was in the way. Once it is over, the same script finds what that one has left: a key
    that is taken, a conversation that is gone."""
    return isinstance(result, Failure) and isinstance(result.error, TransactionConflict | Violation)


def _alike(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """The tasks in their order, with neighbours together that are one statement with different values."""
    for _, group in groupby(tasks, lambda task: id(task.statement) if isinstance(task, Repeated) else id(task)):
        yield list(group)


async def _hopefully_done(connection: Any, tasks: Sequence[Task]) -> Sequence[object]:
    """The results of all. Raises what one of them raised, if that may have left something in the transaction."""
    return [result for group in _alike(tasks) for result in await _group_done(connection, group)]


async def _group_done(connection: Any, tasks: Sequence[Task]) -> Sequence[object]:
    repeated = [task for task in tasks if isinstance(task, Repeated)]
    if len(repeated) > 1:
        together = Repeated(repeated[0].statement, [values for each in repeated for values in each.values])
        return [await _done(connection, together)] * len(tasks)
    return [await _done(connection, task) for task in tasks]


async def _repeatedly_done(connection: Any, statement: Prepared, values: Sequence[Mapping[str, Any]]) -> None:
    if len(values) == 1:
        await carried_out(connection, Query(statement, values[0]))
    else:  # all in one round trip
        await connection.executemany(statement.text, [statement.arguments(each) for each in values])


async def _in_savepoint(connection: Any, task: Task) -> object:
    """The result, or `Failure` when nothing of the task is left in the transaction."""
    await connection.execute("SAVEPOINT task")
    result = await _or_failure(connection, _done(connection, task))
    if isinstance(result, Failure):
        await connection.execute("ROLLBACK TO SAVEPOINT task")
    await connection.execute("RELEASE SAVEPOINT task")
    return result


async def _commit(connection: Any) -> None:
    if await connection.execute("COMMIT") != "COMMIT":  # PostgreSQL says ROLLBACK, and calls that a success
        raise DatabaseUnavailable


async def _or_failure(connection: Any, result: Awaitable[T]) -> T | Failure:
    """What was raised is returned, but for what ends the connection, and with it everybody's transaction."""
    try:
        with translated_driver():
            return await result
    except Exception as error:
        if connection.is_closed() or isinstance(error.__cause__, OSError | asyncpg.InternalClientError):
            raise
        return Failure(error)


async def _done(connection: Any, task: Task) -> object:
    """The result, or `Failure` when a script has refused before it changed anything. Raises what else it raises."""
    if isinstance(task, Repeated):
        await _repeatedly_done(connection, *task)
        return None
    steps: Steps[Any] = task()
    outcome: Outcome | None = None
    is_untouched = True
    while True:
        try:
            query = next(steps) if outcome is None else steps.send(outcome)
        except StopIteration as end:
            return end.value
        except DomainError as refusal:
            if is_untouched:
                return Failure(refusal)
            raise
        outcome = await carried_out(connection, query)
        is_untouched = is_untouched and (query.statement.returns_rows or not outcome.changed)
