"""Keeping the index in step with the database, which is the truth."""

from dataclasses import dataclass

from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.domain.knowledge import EmbeddingSpace

PAGE = 1000  # chunks: about 5 MB with vectors of 1024 dimensions


@dataclass(frozen=True, slots=True)
class Reindex:
    """Rebuild the whole index from the database. Documents uploaded meanwhile may be missed: stop uploads first."""

    views: KnowledgeViews
    index: PassageIndex

    async def __call__(self) -> int:
        """Return how many chunks the new index holds."""
        await self.index.clear()
        written = sum([await self._fill(space) for space in await self.views.spaces()])
        await self.index.optimize()
        return written

    async def _fill(self, space: EmbeddingSpace) -> int:
        written, after = 0, None
        while page := await self.views.chunks(space, after=after, limit=PAGE):
            await self.index.add(space, page)
            written += len(page)
            after = (page[-1].document, page[-1].chunk.position)
        return written


@dataclass(frozen=True, slots=True)
class OptimizeIndex:
    """Compact the index and take in what is new. Cheap when nothing has changed; run it every few minutes."""

    index: PassageIndex

    async def __call__(self) -> None:
        await self.index.optimize()
