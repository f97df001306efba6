"""What is done again and again beside all else, as long as a block lasts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from llm_backend.application.ending import LAST_WORD, ended, ended_within
from llm_backend.application.waiting import set_within

logger = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
"""It must not raise."""


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Let it run until the end of the block, where it is cancelled."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await ended(task)


@asynccontextmanager
async def repeated(work: Work, every: timedelta, *, name: str) -> AsyncIterator[None]:
    """Once at the start of the block, then again and again until its end, where it is cancelled."""
    await work()
    async with in_background(_again_and_again(work, every), name=name):
        yield


@asynccontextmanager
async def written_behind(work: Work, every: timedelta) -> AsyncIterator[None]:
    """Again and again until the end of the block, and there once more: what is being written is written, if that does
    not take longer than `LAST_WORD`."""
    stopping = asyncio.Event()
    task = asyncio.create_task(_until(stopping, work, every), name="written-behind")
    try:
        yield
    finally:
        stopping.set()
        if await ended_within(LAST_WORD, task):
            task.result()
        else:
            logger.warning("what was to be written at the end took too long, and is lost")


async def _again_and_again(work: Work, every: timedelta) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        await work()


async def _until(stopping: asyncio.Event, work: Work, every: timedelta) -> None:
    while not stopping.is_set():
        await set_within(every, stopping)
        await work()
