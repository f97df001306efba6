"""What is done again and again beside all else, as long as a block lasts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

Work = Callable[[], Awaitable[None]]
"""It must not raise."""


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Let it run until the end of the block, where it is cancelled."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def repeated(work: Work, every: timedelta, *, name: str) -> AsyncIterator[None]:
    """Once at the start of the block, then again and again until its end, where it is cancelled."""
    await work()
    async with in_background(_again_and_again(work, every), name=name):
        yield


@asynccontextmanager
async def written_behind(work: Work, every: timedelta) -> AsyncIterator[None]:
    """Again and again until the end of the block, and there once more: what is being written is written."""
    stopping = asyncio.Event()
    task = asyncio.create_task(_until(stopping, work, every), name="written-behind")
    try:
        yield
    finally:
        stopping.set()
        await task


async def _again_and_again(work: Work, every: timedelta) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        await work()


async def _until(stopping: asyncio.Event, work: Work, every: timedelta) -> None:
    while not stopping.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(every.total_seconds()):
                await stopping.wait()
        await work()
