"""Writing now and then what comes up all the time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta


@asynccontextmanager
async def written_behind(write: Callable[[], Awaitable[None]], every: timedelta) -> AsyncIterator[None]:
    """Call `write` again and again until the end of the block, and there once more. It must not raise."""
    stopping = asyncio.Event()
    task = asyncio.create_task(_again_and_again(write, every, stopping), name="written-behind")
    try:
        yield
    finally:
        stopping.set()  # not cancelled: what is being written is written
        await task


async def _again_and_again(write: Callable[[], Awaitable[None]], every: timedelta, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(every.total_seconds()):
                await stopping.wait()
        await write()
