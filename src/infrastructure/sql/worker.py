"""Threads that carry out what coroutines wait for, several things at a time."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from llm_backend.domain.errors import DatabaseUnavailable

Task = TypeVar("Task")
Task_contra = TypeVar("Task_contra", contravariant=True)


class Failure(NamedTuple):
    """What a task's coroutine shall raise."""

    error: BaseException


class Hand(Protocol[Task_contra]):
    """What a thread works with, such as its own connection. Made, used and closed in that thread."""

    def carry_out(self, tasks: Sequence[Task_contra]) -> Sequence[object]:
        """One result or `Failure` for each task, in order."""

    def close(self) -> None: ...


class _Job(NamedTuple, Generic[Task]):
    task: Task
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Workers(Generic[Task]):
    """Threads before one queue. Each takes up to `most` of the waiting tasks at once and wakes their coroutines at
    once: waking the event loop from a thread costs more than a small read does.
    """

    def __init__(self, name: str, hand: Callable[[], Hand[Task]], *, threads: int, most: int) -> None:
        self._queue: SimpleQueue[_Job[Task] | None] = SimpleQueue()
        self._hand = hand
        self._most = most
        self._closed = False
        # daemons, so that a program that forgot to close still ends
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def do(self, task: Task) -> Any:
        """Have it done; a caller that goes away does not undo it. Raises `DatabaseUnavailable` once closed."""
        if self._closed:
            raise DatabaseUnavailable
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Job(task, loop, future))
        return await future

    async def close(self) -> None:
        """Finish what is waiting, and end the threads."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _work(self) -> None:
        hand = self._hand()
        try:
            while jobs := self._waiting():
                _settle(jobs, _carried_out(hand, [job.task for job in jobs]))
        finally:
            hand.close()

    def _waiting(self) -> list[_Job[Task]]:
        """What is there, or the first that comes; nothing when it is time to end."""
        jobs: list[_Job[Task]] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == self._most:
                return jobs
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._queue.put(None)  # the sign to end was taken too early
        return jobs


def _carried_out(hand: Hand[Task], tasks: list[Task]) -> Sequence[object]:
    try:
        return hand.carry_out(tasks)
    except BaseException as error:  # noqa: BLE001 - the thread must live on, and somebody is waiting for every task
        return [Failure(error)] * len(tasks)


def _settle(jobs: Sequence[_Job[Task]], results: Sequence[object]) -> None:
    with suppress(RuntimeError):  # the loop has ended: nobody is waiting any more
        jobs[0].loop.call_soon_threadsafe(_wake, jobs, results)


def _wake(jobs: Sequence[_Job[Task]], results: Sequence[object]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.future.done():  # cancelled
            continue
        if isinstance(result, Failure):
            job.future.set_exception(result.error)
        else:
            job.future.set_result(result)
