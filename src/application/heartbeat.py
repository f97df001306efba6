"""Signs of life: what tells a process that is slow from one that is dead."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

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
    _beats: Mapping[WriterId, int] = field(default_factory=dict)
    _misses: dict[WriterId, int] = field(default_factory=dict)
    _looks: int = 0
    _strangers: dict[WriterId, int] = field(default_factory=dict)  # and how many looks there had been when they came up
    _task: "asyncio.Task[None] | None" = None

    async def __aenter__(self) -> Self:
        await self.look()
        self._task = asyncio.create_task(self._again_and_again(), name="heartbeat")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._leave(self.leases.me)

    def is_dead(self, writer: WriterId) -> bool:
        """Whether nothing more is to be expected of a process: it left, or has given no sign of life for a while."""
        if writer == self.leases.me:
            return False
        if self.alone or writer in self._beats:
            return self.alone or self._misses.get(writer, 0) >= MISSES
        # Who has not been seen may have left, or have come since the last look: the next one will tell.
        return self._looks > self._strangers.setdefault(writer, self._looks)

    async def look(self) -> None:
        """Give a sign of life, and look for those of the others."""
        try:
            beats = await self.leases.beat()
        except (Unavailable, StorageFull) as error:
            logger.warning("no sign of life could be given: %s", error.code)
            return
        self._misses = {
            writer: self._misses.get(writer, 0) + 1 if beat == self._beats.get(writer) else 0
            for writer, beat in beats.items()
        }
        self._beats = beats
        self._looks += 1
        self._strangers = {writer: seen for writer, seen in self._strangers.items() if writer not in beats}

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
            await self.look()
