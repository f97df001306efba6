"""Keeping the index in step with the database, which is the truth."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class SweepDocuments:
    """Finish what was cut off: bury uploads that never ended, and clear away all that hangs on tombstones.

    Does nothing twice; run it at start and every few minutes, in as many processes as you like.
    """

    transactions: UnitOfWorkFactory
    index: PassageIndex
    now: Clock
    patience: timedelta = timedelta(hours=1)  # longer than any upload takes

    async def __call__(self) -> int:
        """Return how many documents are gone for good."""
        await self._bury_abandoned()
        forgotten = 0
        for space, documents in (await self._tombstones()).items():
            await self.index.remove(space, documents)
            forgotten += await self._forget(documents)
        return forgotten

    async def _bury_abandoned(self) -> None:
        async with self.transactions() as work:
            for document in await work.documents.unfinished(before=self.now() - self.patience):
                await work.documents.bury_unfinished(document)
            await work.commit()

    async def _tombstones(self) -> dict[EmbeddingSpace, list[DocumentId]]:
        by_space: dict[EmbeddingSpace, list[DocumentId]] = defaultdict(list)
        async with self.transactions() as work:
            for document, space in await work.documents.tombstones():
                by_space[space].append(document)
        return by_space

    async def _forget(self, documents: list[DocumentId]) -> int:
        async with self.transactions() as work:
            for document in documents:
                await work.documents.forget(document)
            await work.commit()
        return len(documents)


@dataclass(frozen=True, slots=True)
class OptimizeIndex:
    """Compact the index and take in what is new. Cheap when nothing has changed; run it every few minutes."""

    index: PassageIndex

    async def __call__(self) -> None:
        await self.index.optimize()
