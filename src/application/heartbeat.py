"""Signs of life: what tells a process that is slow from one that is dead."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from llm_backend.application.ending import LAST_WORD, ended
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.domain.errors import StorageFull, Unavailable
from llm_backend.domain.ids import WriterId

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=5)
MISSES = (
    3  # looks in a row that find no sign of life; a look that fails counts for nothing, as nobody can give one then
)


@dataclass(slots=True, kw_only=True)
class Heartbeat:
    """Gives this process' signs of life inside of `async with`, and watches those of the others.

    Looks are counted and no time is measured, so that neither a clock that jumps nor a database that is away makes the
    living look dead. With `alone` no other process can be alive.
    """

    leases: AnswerLeases
    alone: bool = False
    every: timedelta = EVERY
    monotonic: Callable[[], float] = time.monotonic
    _alive_at: float = -math.inf
    _beats: Mapping[WriterId, int] = field(default_factory=dict)
    _misses: dict[WriterId, int] = field(default_factory=dict)
    _unknown: set[WriterId] = field(default_factory=set)  # of whom somebody asked, and nobody has seen a sign of life
    _task: "asyncio.Task[None] | None" = None

    async def __aenter__(self) -> Self:
        await self.look()
        self._task = asyncio.create_task(self._again_and_again(), name="heartbeat")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            await ended(self._task)
        try:
            async with asyncio.timeout(LAST_WORD.total_seconds()):
                await self._leave(self.leases.me)
        except TimeoutError:
            logger.warning("a process could not be forgotten: the database does not answer")

    @property
    def alive_at(self) -> float:
        """By the monotonic clock, a moment before the last sign of life that is known to have been given."""
        return self._alive_at

    def is_dead(self, writer: WriterId) -> bool:
        """Whether nothing more is to be expected of a process, which has given no sign of life for some looks.

        One that was never seen may have begun just now: that, too, takes some looks to tell.
        """
        if writer == self.leases.me:
            return False
        if writer not in self._beats:
            self._unknown.add(writer)
        return self.alone or self._misses.get(writer, 0) >= MISSES

    def last_beat(self, writer: WriterId) -> int:
        """The last sign of life that was seen of a process, 0 if none was."""
        return self._beats.get(writer, 0)

    async def look(self) -> None:
        """Give a sign of life, and look for those of the others."""
        began = self.monotonic()
        try:
            beats = await self.leases.beat()
        except (Unavailable, StorageFull) as error:
            logger.warning("no sign of life could be given: %s", error.code)
            return
        self._alive_at = began
        self._unknown -= beats.keys()
        seen = {writer for writer, beat in beats.items() if beat != self._beats.get(writer)}
        watched = beats.keys() | self._unknown
        self._misses = {writer: 0 if writer in seen else self._misses.get(writer, 0) + 1 for writer in watched}
        self._beats = beats

    async def bury(self) -> None:
        """Forget the dead. To be called when nothing that they held is left."""
        for writer in [writer for writer in self._beats if self.is_dead(writer)]:
            await self._leave(writer)

    async def _leave(self, writer: WriterId) -> None:
        try:
            await self.leases.leave(writer)
        except (Unavailable, StorageFull) as error:
            logger.warning("a process could not be forgotten: %s", error.code)

    async def _again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self.every.total_seconds())
            try:
                await self.look()
            except Exception:
                logger.exception("no sign of life could be given")
