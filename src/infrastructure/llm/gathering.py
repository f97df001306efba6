"""What many connections bring within a moment, handled together.

A piece of an answer that wakes up the process alone finds the caches cold, and costs three times as much as one that
comes right behind another. Network cards do the same with their interrupts.
"""

import asyncio
import math
from typing import Protocol

PAUSE = 0.004
"""Seconds, at least. A tenth of what an eye notices, and half the time between two pieces of a fast model."""
LONGEST_PAUSE = 0.030
"""Seconds, when many answers are being written: then two pieces of a fast one are often sent together."""
PAUSE_PER_TAKER = 0.0005
MOST_WAITING = 256 * 1024
"""Bytes, of all together: an event for each of a thousand streams. More of them come too fast to be expensive, and a
reader may want to hold them back."""


class Taker(Protocol):
    """Somebody whose bytes are gathered."""

    def take(self, data: bytes) -> None: ...
    def give_up(self) -> None:
        """It failed to take them."""


class Gathering:
    """Hands bytes on, each taker's in order: at once after a silence, then together with those of others, at most
    `longest` seconds later: the more takers there are, the longer it waits, from `shortest` on."""

    def __init__(self, shortest: float = PAUSE, longest: float = LONGEST_PAUSE) -> None:
        self._loop = asyncio.get_running_loop()
        self._shortest = shortest
        self._longest = max(longest, shortest)
        self.pause = shortest
        """Seconds until what comes now is handed on, at most."""
        self._waiting: dict[Taker, list[bytes]] = {}
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._handed_at = -math.inf

    def add(self, taker: Taker, data: bytes) -> None:
        self._waiting.setdefault(taker, []).append(data)
        self._size += len(data)
        if self._size > MOST_WAITING:
            self.hand_on()
        elif self._timer is None:
            due = self._handed_at + self.pause
            if self._loop.time() >= due:
                self.hand_on()
            else:
                self._timer = self._loop.call_at(due, self._hand_on_in_time)

    def hand_on(self) -> None:
        """All that is waiting, now: before an end that comes behind it, for example."""
        self._handed_at = self._loop.time()
        waiting, self._waiting, self._size = self._waiting, {}, 0
        self.pause = min(max(PAUSE_PER_TAKER * len(waiting), self._shortest), self._longest)
        for taker, parts in waiting.items():
            try:
                taker.take(parts[0] if len(parts) == 1 else b"".join(parts))
            except Exception as error:  # noqa: BLE001 - it must not cost the others their bytes
                self._loop.call_exception_handler({"message": "Bytes could not be handled", "exception": error})
                taker.give_up()

    def _hand_on_in_time(self) -> None:
        self._timer = None
        self.hand_on()
