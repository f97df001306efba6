"""Ending what runs beside all else, in a time that has a bound."""

import asyncio
from datetime import timedelta
from typing import Any

INSIST_EVERY = timedelta(seconds=1)
PATIENCE_AT_THE_END = timedelta(seconds=10)  # with a database that is away once the grace of a shutdown is over
LAST_WORD = timedelta(seconds=2)  # for each thing that is still to be written at the end, which takes milliseconds


async def ended(*tasks: "asyncio.Task[Any]", insist_every: timedelta = INSIST_EVERY) -> None:
    """Cancel tasks, and return when all of them are done.

    One cancellation may not do: a library that is cleaning up may raise an error of its own in its place, upon which
    the task goes on as after any other error. So they are cancelled again until they are done.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=insist_every.total_seconds())


async def ended_within(patience: timedelta, *tasks: "asyncio.Task[Any]") -> bool:
    """Let tasks come to their own end for so long, then cancel those that have not; whether that was needed of none."""
    if not tasks:
        return True
    _, pending = await asyncio.wait(tasks, timeout=patience.total_seconds())
    await ended(*pending)
    return not pending
