"""Reading the response of a provider's server, and letting go of it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import httpx

BYTES_PER_CHARACTER = 6  # of JSON, when every character is escaped

_READ = httpx.ByteStream(b"")


def parts(response: httpx.Response) -> aclosing[AsyncGenerator[bytes, None]]:
    """The body, whoever transports it. (httpx promises an iterator and gives a generator, which wants to be closed.)"""
    return aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_bytes()))


async def let_go(response: httpx.Response) -> None:
    """Close it. Its stream refers back to it, which only the garbage collector would see, and so is let go as well."""
    await response.aclose()
    response.stream = _READ
