"""Writes that wait for each other become one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """Hands what was added while a write was running to the next write, all at once.

    A write of LanceDB costs 4 to 40 ms of CPU however little is in it, and leaves a file that every search has to open.
    So after each there is a `pause` (in seconds), in which more can gather; a write that comes later than that is not
    delayed.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[None]], *, pause: float = 0.0) -> None:
        self._write = write
        self._pause = pause
        self._rested_at = 0.0  # on the clock of the loop
        self._waiting: list[tuple[Sequence[Item], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, items: Sequence[Item]) -> None:
        """Return when the items are written; a write that fails fails for everybody in it.

        Who is cancelled while waiting may find the items written or not.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, written))
        if self._writing is None or self._writing.done():
            # A task of its own: whoever is cancelled must not take along those whose items are in the same write.
            self._writing = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(self._rested_at - loop.time())
            batch, self._waiting = self._waiting, []
            error = await self._outcome([item for items, _ in batch for item in items])
            self._rested_at = loop.time() + self._pause
            for written in (written for _, written in batch if not written.done()):
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)

    async def _outcome(self, items: Sequence[Item]) -> Exception | None:
        try:
            await self._write(items)
        except Exception as error:  # noqa: BLE001 - each of those who wait for it will see it
            return error
        return None
