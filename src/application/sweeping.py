"""Finishing what was cut off between the database, the jobs, the index and the uploaded files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from llm_backend.application.job_runner import JobRunner
from llm_backend.application.originals import file_in
from llm_backend.application.ports.blobs import BlobKey, Blobs
from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.jobs import JobId, Jobs
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.standstill import Standstills
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class SweepDocuments:
    """Ask again for jobs that got lost, and clear away what nobody needs: old failures, files of documents that failed
    or were never stored, and all that hangs on tombstones.

    Does nothing twice; run it at start and every few minutes, in as many processes as you like.
    """

    transactions: UnitOfWorkFactory
    index: PassageIndex
    blobs: Blobs
    jobs: Jobs
    runner: JobRunner
    now: Clock
    failures_kept_for: timedelta = timedelta(days=7)
    orphaned_after: timedelta = timedelta(minutes=10)  # longer than from storing a file to storing its document
    unneeded: Standstills[BlobKey] = field(default_factory=Standstills)

    async def __call__(self) -> int:
        """Return how many documents are gone for good."""
        await self._bury_old_failures()
        await self._ask_again()
        await self._drop_orphans()
        tombstones = await self._tombstones()
        if not tombstones:
            return 0
        for space, documents in (await self._spaces_of(tombstones)).items():
            await self.index.remove(space, documents)
        await self.blobs.delete([BlobKey(document) for document in tombstones])
        return await self._forget(tombstones)

    async def _bury_old_failures(self) -> None:
        async with self.transactions() as work:
            await work.documents.bury_failed(before=self.now() - self.failures_kept_for)
            await work.commit()

    async def _ask_again(self) -> None:
        pending = await self._pending()
        asked_for = await self._in_hand(pending)
        for document in pending:
            if document not in asked_for:
                await self.jobs.enqueue(JobId(document))
        self.runner.nudge()

    async def _drop_orphans(self) -> None:
        """A file comes before its document, so one that nobody needs is only given up when it stays so."""
        kept = [key for key in await self.blobs.keys() if file_in(key) is None]
        needed = await self._needed(kept)
        lonely = self.unneeded.look({key: None for key in kept if key not in needed})
        await self.blobs.delete([key for key, duration in lonely.items() if duration >= self.orphaned_after])

    async def _tombstones(self) -> Sequence[DocumentId]:
        """Without those that somebody may still be at work on, who clears up; after that, it is our turn."""
        async with self.transactions() as work:
            found = await work.documents.tombstones()
        in_hand = await self._in_hand(found)
        return [document for document in found if document not in in_hand]

    async def _spaces_of(self, documents: Sequence[DocumentId]) -> Mapping[EmbeddingSpace, Sequence[DocumentId]]:
        async with self.transactions() as work:
            return await work.documents.spaces_of(documents)

    async def _pending(self) -> Sequence[DocumentId]:
        async with self.transactions() as work:
            return await work.documents.pending()

    async def _needed(self, kept: Sequence[BlobKey]) -> set[BlobKey]:
        async with self.transactions() as work:
            living = await work.documents.living([DocumentId(key) for key in kept])
        return {BlobKey(document) for document in living}

    async def _in_hand(self, documents: Sequence[DocumentId]) -> set[DocumentId]:
        found = await self.jobs.unfinished([JobId(document) for document in documents]) if documents else ()
        return {DocumentId(job) for job in found}

    async def _forget(self, documents: Sequence[DocumentId]) -> int:
        async with self.transactions() as work:
            for document in documents:
                await work.documents.forget(document)
            await work.commit()
        return len(documents)
