"""What goes wrong when several processes write to one table, or when parts of it are gone."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

ERRORS = (ValueError, OSError, RuntimeError)  # LanceDB has no exceptions of its own
ATTEMPTS = 8
FIRST_PAUSE = 0.02  # seconds; doubled each time, so that all of them together take 2.5 s on average


async def despite_conflicts(change: Callable[[], Awaitable[T]]) -> T:
    """Change a table; again after a random pause when somebody else has changed it at the same moment.

    LanceDB itself tries again what it can rebase, which is most of it: not compactions and the making of indexes.
    """
    for attempt in range(ATTEMPTS - 1):
        try:
            return await change()
        except ERRORS as error:
            if not is_conflict(error):
                raise
        # Not for secrets: replicas that collided must not collide again.
        await asyncio.sleep(random.uniform(0, 2 * FIRST_PAUSE * 2**attempt))  # noqa: S311
    return await change()


@contextmanager
def suppress_conflicts() -> Iterator[None]:
    """For what may as well be done another time."""
    try:
        yield
    except ERRORS as error:
        if not is_conflict(error):
            raise


def is_conflict(error: Exception) -> bool:
    """Whether another process was faster."""
    text = str(error).lower()
    return any(sign in text for sign in ("commit conflict", "concurrent", "already exists"))


def is_missing(error: Exception) -> bool:
    """Whether a table or a part of one is not where it should be."""
    text = str(error).lower()
    return "not found" in text or "no such file" in text
