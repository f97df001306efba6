"""Writes that wait for each other become one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """Hands what was added while a write was running to the next write, all at once.

    A write of LanceDB costs 8 ms however little is in it, and leaves a file that every search has to open.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[None]]) -> None:
        self._write = write
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[Sequence[Item], asyncio.Future[None]]] = []

    async def add(self, items: Sequence[Item]) -> None:
        """Return when the items are written; a write that fails fails for everybody in it."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, written))
        async with self._turn:
            if not written.done():
                await self._write_waiting()
        await written

    async def _write_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            await self._write([item for items, _ in batch for item in items])
        except BaseException as error:
            for _, written in batch:
                _fail(written, error)
            if not isinstance(error, Exception):
                raise
        else:
            for _, written in batch:
                if not written.done():
                    written.set_result(None)


def _fail(written: "asyncio.Future[None]", error: BaseException) -> None:
    """Whoever is cancelled while writing for others takes them along: none of them may believe it is written."""
    if written.done():
        return
    if isinstance(error, Exception):
        written.set_exception(error)
    else:
        written.cancel()
