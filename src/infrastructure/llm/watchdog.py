"""Time-outs for something that shows signs of life thousands of times."""

import asyncio
from types import TracebackType
from typing import Self


class Watchdog:
    """`async with` a block that must show signs of life: `TimeoutError` after more than `limit` seconds without one.

    A sign is an assignment to `heard` (in the loop's time), not a timer: one timer looks now and then at how long the
    last sign was ago.
    """

    def __init__(self, limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._scope = asyncio.timeout(None)
        self.heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self.heard + limit, self._look)

    @property
    def barked(self) -> bool:
        return self._scope.expired()

    def expect(self, limit: float) -> None:
        """From now on, wait `limit` seconds for the next sign."""
        self._limit = limit
        self.heard = self._loop.time()
        self._cancel()
        self._timer = self._loop.call_at(self.heard + limit, self._look)

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cancel()
        await self._scope.__aexit__(kind, error, traceback)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None  # which refers back to us: let no garbage collector have to find that out

    def _look(self) -> None:
        due = self.heard + self._limit
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._scope.reschedule(self._loop.time())
