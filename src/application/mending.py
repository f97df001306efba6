"""Noticing that the index has lost something, and putting it back from the database, which is the truth."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.repeating import in_background
from llm_backend.domain.errors import DomainError, IndexUnavailable
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace

PAGE = 1000  # chunks: about 5 MB with vectors of 1024 dimensions
AT_ONCE = 4  # documents

_Attempt: TypeAlias = tuple[DocumentId, int]

logger = logging.getLogger(__name__)


class IndexState:
    """What this process knows of the index: whether it lacks something, and whether somebody had reason to think so."""

    def __init__(self) -> None:
        self.incomplete = False
        self.mending = asyncio.Lock()
        self._suspected = asyncio.Event()

    def suspect(self) -> None:
        """Have it looked at soon."""
        self._suspected.set()

    async def suspicion(self, *, within: timedelta) -> bool:
        """Wait for one, and take it away."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                await self._suspected.wait()
        suspected = self._suspected.is_set()
        self._suspected.clear()
        return suspected

    async def check(self) -> None:
        """Raises `IndexUnavailable` while the index is known to lack something."""
        if self.incomplete:
            raise IndexUnavailable


@dataclass(frozen=True, slots=True)
class MendIndex:
    """Compare the index with the database, and add what it lacks, document by document.

    What is there stays there, so searches go on, and so do uploads. Run it in as many processes as you like: they do
    the same work, and the same chunks added twice are there once.
    """

    views: KnowledgeViews
    index: PassageIndex
    state: IndexState

    async def __call__(self) -> int:
        """Return how many chunks were added."""
        async with self.state.mending:
            added = sum([await self._mend(space) for space in await self.views.spaces()])
            self.state.incomplete = False
        if added:
            logger.warning("the search index lacked passages, and was filled from the database: %d", added)
        return added

    async def if_smaller(self) -> int:
        """The same, but only if the index has fewer chunks than it should: cheap."""
        for space in await self.views.spaces():
            counts = await self.views.chunk_counts(space)
            if counts and await self.index.size(space) < sum(counts.values()):
                return await self()
        return 0

    async def _mend(self, space: EmbeddingSpace) -> int:
        wanted = await self.views.chunk_counts(space)
        if not wanted:
            return 0
        missing = _missing(wanted, await self.index.holdings(space))
        self.state.incomplete = self.state.incomplete or bool(missing)
        added = sum([await self._fill(space, some) for some in _slices(list(missing.items()), AT_ONCE)])
        await self._withdraw(space, missing)
        return added

    async def _fill(self, space: EmbeddingSpace, attempts: Sequence[tuple[_Attempt, int]]) -> int:
        return sum(await asyncio.gather(*(self._fill_one(space, one, count) for (one, _), count in attempts)))

    async def _fill_one(self, space: EmbeddingSpace, document: DocumentId, count: int) -> int:
        added, position = 0, -1
        while added < count:
            page = await self.views.chunks(space, after=(document, position), limit=min(PAGE, count - added))
            mine = [stored for stored in page if stored.document == document]
            if not mine:
                break
            await self.index.add(space, mine)
            added += len(mine)
            position = mine[-1].chunk.position
        return added

    async def _withdraw(self, space: EmbeddingSpace, filled: Mapping[_Attempt, int]) -> None:
        """Whatever was deleted meanwhile, or got its vectors, may have been removed from the index before it was added
        again."""
        if filled:
            wanted = await self.views.chunk_counts(space)
            living = {document for document, _ in wanted}
            for document, attempt in filled.keys() - wanted.keys():
                await self.index.remove(space, [document], attempt=attempt if document in living else None)


@dataclass(frozen=True, slots=True)
class WatchIndex:
    """Compare everything at the start, then now and then whether the index has shrunk, and at once on suspicion."""

    mend: MendIndex
    pause: timedelta = timedelta(seconds=5)  # at least, between two looks

    def regularly(self, every: timedelta) -> AbstractAsyncContextManager[None]:
        """In the background, until the end of the block: searches meanwhile say that they are degraded."""
        return in_background(self._again_and_again(every), name="index watch")

    async def _again_and_again(self, every: timedelta) -> None:
        everything = True
        while True:
            done = await self._look(everything=everything)
            await asyncio.sleep(self.pause.total_seconds())
            everything = await self.mend.state.suspicion(within=every if done else self.pause) or not done

    async def _look(self, *, everything: bool) -> bool:
        """Whether it came to an end."""
        try:
            await (self.mend() if everything else self.mend.if_smaller())
        except DomainError as error:
            logger.warning("looking after the search index was put off: %s", error.code)
            return False
        except Exception:
            logger.exception("looking after the search index failed")
            return False
        return True


@dataclass(frozen=True, slots=True)
class Reindex:
    """Make sure that the index has everything, beside running servers if need be.

    `anew` builds all of it again, also what looks well; until the end searches find only what is back already.
    """

    mend: MendIndex

    async def __call__(self, *, anew: bool = False) -> int:
        """Return how many chunks the index should hold now, and does. Raises `Unavailable` or `StorageFull`."""
        if anew:
            self.mend.state.incomplete = True
            await self.mend.index.clear()
        await self.mend()
        await self.mend.index.optimize()
        views = self.mend.views
        return sum([sum((await views.chunk_counts(space)).values()) for space in await views.spaces()])


def _missing(wanted: Mapping[_Attempt, int], held: Mapping[_Attempt, int]) -> dict[_Attempt, int]:
    """Documents of which the index has too few chunks, with how many there should be."""
    return {attempt: count for attempt, count in wanted.items() if held.get(attempt, 0) < count}


def _slices(attempts: Sequence[tuple[_Attempt, int]], length: int) -> Iterator[Sequence[tuple[_Attempt, int]]]:
    return (attempts[first : first + length] for first in range(0, len(attempts), length))
