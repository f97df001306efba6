"""Waiting for what may not come."""

import asyncio
from contextlib import suppress
from datetime import timedelta


async def set_within(patience: timedelta, event: asyncio.Event) -> None:
    """Wait for the event, but no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience.total_seconds()):
            await event.wait()
