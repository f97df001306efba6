"""The main coroutine of a process, and the wish of others that it may end."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

SIGNALS = (signal.SIGTERM, signal.SIGINT)

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run the main coroutine, on uvloop where there is one."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@contextmanager
def asked_to_end() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, until the end of the block. A second one ends the process at once."""
    asked = asyncio.Event()
    for number in SIGNALS:
        _on_signal(number, asked)
    try:
        yield asked
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)


def _on_signal(number: int, asked: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def heed() -> None:
        if asked.is_set():
            os._exit(128 + number)  # all that was acknowledged is stored, as after a kill
        asked.set()

    if sys.platform == "win32":
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(heed))
    else:
        loop.add_signal_handler(number, heed)
