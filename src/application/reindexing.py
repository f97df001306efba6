"""Changing the embedding model of a knowledge base without downtime: start, watch, cancel, roll back, and the work.

The work is one job for each knowledge base, so that no two are ever at the same vectors: it embeds what is missing in
the target, lets the knowledge base move, and drops the vectors that nobody wants any more. All that it does may be cut
off anywhere, and done again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from llm_backend.application.embedding_in_parts import PART, in_parts, store_part
from llm_backend.application.ingestion import embedder_of
from llm_backend.application.job_runner import JobRunner, Report, ToBeContinued
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.embedder import Embedded, Embedder, Embedders
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.jobs import JobId, Jobs, Progress
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.uploads import call_off
from llm_backend.domain.errors import DomainError, EmbeddingModelInUse, NothingToRollBack, ReindexingFailed
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, ReindexingId, UserId
from llm_backend.domain.knowledge import EmbeddingSpace, KnowledgeBase, StoredChunk
from llm_backend.domain.reindexing import Reindexing, ReindexingState, ReindexingStatus

PREFIX = "reindex:"  # of the job; the rest is the knowledge base
KEPT_FOR = timedelta(days=7)
TURN = timedelta(seconds=5)  # after which documents that wait to be read in go first
DOCUMENTS_AT_ONCE = 32  # that are begun together
CHUNKS_AT_ONCE = 256  # that are stored together, and those of one document more, of which large ones come in parts
EMBEDDED_AT_ONCE = 4  # documents
DROPPED_AT_ONCE = 200  # documents whose vectors go in one transaction


def job_of(knowledge_base: KnowledgeBaseId) -> JobId:
    return JobId(PREFIX + knowledge_base)


@dataclass(frozen=True, slots=True)
class MoveKnowledgeBase:
    """What starting and rolling back have in common: note down where to, move at once if nothing is missing there,
    else have it done."""

    transactions: UnitOfWorkFactory
    embedders: Embedders
    jobs: Jobs
    runner: JobRunner
    ids: IdSource
    now: Clock

    async def __call__(self, work: UnitOfWork, shelf: KnowledgeBase, target: EmbeddingSpace) -> Reindexing:
        """Raises `EmbeddingModelInUse`, `ReindexingInProgress`, `UnknownEmbeddingModel` or `EmbeddingFailed`."""
        if target == shelf.space:
            raise EmbeddingModelInUse
        embedder_of(self.embedders, target)
        reindexing = Reindexing(
            id=ReindexingId(self.ids.uuid()),
            knowledge_base=shelf.id,
            source=shelf.space,
            target=target,
            started_at=self.now(),
        )
        await work.reindexings.start(shelf.owner, reindexing)
        await work.reindexings.finish(reindexing.id, at=reindexing.started_at)
        return reindexing

    async def have_done(self, knowledge_base: KnowledgeBaseId) -> None:
        """What is noted down is asked for again by the sweeper, should nobody hear of it now."""
        with suppress(DomainError):
            await self.jobs.enqueue(job_of(knowledge_base), background=True)
        self.runner.nudge()


@dataclass(frozen=True, slots=True)
class StartReindexing:
    """Move a knowledge base to another embedding model. It is searched in the old space until the new one is whole."""

    move: MoveKnowledgeBase

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        embedding_model: str,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> ReindexingId:
        """Raises `KnowledgeBaseNotFound`, `UnknownEmbeddingModel`, `EmbeddingModelInUse`, `ReindexingInProgress` or
        `IdempotencyMismatch`."""
        self.move.runner.check_open()
        try:
            started = await self._start(owner, knowledge_base, embedding_model, idempotency)
        except AlreadyRecorded:
            started = await self._start(owner, knowledge_base, embedding_model, idempotency)
        await self.move.have_done(knowledge_base)
        return started

    async def _start(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, model: str, idempotency: IdempotencyKey | None
    ) -> ReindexingId:
        async with self.move.transactions() as work:
            shelf = await work.knowledge_bases.get(owner, knowledge_base)
            if idempotency and (earlier := await work.idempotency.outcome(owner, idempotency)):
                return ReindexingId(earlier)
            started = await self.move(work, shelf, self.move.embedders.get(model).space)
            if idempotency:
                await work.idempotency.record(owner, idempotency, started.id, at=started.started_at)
            await work.commit()
        return started.id


@dataclass(frozen=True, slots=True)
class RollBackReindexing:
    """Move a knowledge base back to the embedding model it had before. Nothing is embedded again but what has come
    since: without any such document, it has moved when this returns."""

    move: MoveKnowledgeBase
    kept_for: timedelta = KEPT_FOR

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> ReindexingId:
        """Raises `KnowledgeBaseNotFound`, `NothingToRollBack`, `ReindexingInProgress`, or `UnknownEmbeddingModel` when
        the model is not configured any more."""
        kept_since = self.move.now() - self.kept_for
        async with self.move.transactions() as work:
            shelf = await work.knowledge_bases.get(owner, knowledge_base)
            previous = await work.reindexings.previous(owner, knowledge_base, kept_since=kept_since)
            if previous is None:
                raise NothingToRollBack
            started = await self.move(work, shelf, previous)
            await work.commit()
        await self.move.have_done(knowledge_base)
        return started.id


@dataclass(frozen=True, slots=True)
class CheckReindexing:
    """How far the last move of a knowledge base has come."""

    views: KnowledgeViews

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> ReindexingStatus:
        """Raises `KnowledgeBaseNotFound` or `ReindexingNotFound`."""
        return await self.views.reindexing(owner, knowledge_base)


@dataclass(frozen=True, slots=True)
class CancelReindexing:
    """Give up the move that is running; what was embedded for it is dropped. One that has ended stays as it is."""

    transactions: UnitOfWorkFactory
    jobs: Jobs
    runner: JobRunner
    check: CheckReindexing
    now: Clock

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> ReindexingStatus:
        """Its status after that. Raises `KnowledgeBaseNotFound` or `ReindexingNotFound`."""
        if (await self.check(owner, knowledge_base)).reindexing.state is ReindexingState.RUNNING:
            async with self.transactions() as work:
                await work.reindexings.cancel(owner, knowledge_base, at=self.now())
                await work.commit()
            await call_off(self.jobs, self.runner, job_of(knowledge_base))
        return await self.check(owner, knowledge_base)


@dataclass(frozen=True, slots=True)
class _Due:
    """A ready document that is missing in the target, all of it if it is `new` there."""

    document: DocumentId
    attempt: int
    new: bool
    chunks: Sequence[StoredChunk] = ()


@dataclass(frozen=True, slots=True)
class ReindexKnowledgeBase:
    """The work of the job that is called like a knowledge base, after `PREFIX`."""

    transactions: UnitOfWorkFactory
    views: KnowledgeViews
    embedders: Embedders
    index: PassageIndex
    now: Clock
    kept_for: timedelta = KEPT_FOR
    turn: timedelta = TURN
    part: int = PART

    async def __call__(self, job: JobId, report: Report) -> None:
        """Raises `ToBeContinued`, `UnknownEmbeddingModel`, `EmbeddingFailed`, `Unavailable` or `StorageFull`."""
        knowledge_base = KnowledgeBaseId(job.removeprefix(PREFIX))
        if move := await self._running(knowledge_base):
            report(Progress(step="embedding", percent=0))
            await self._build(move)
        await self._tidy(knowledge_base)
        if await self._running(knowledge_base):  # whoever started it found this job, which was not done
            raise ToBeContinued

    async def give_up(self, job: JobId, error: Exception, report: Report) -> None:
        knowledge_base = KnowledgeBaseId(job.removeprefix(PREFIX))
        reason = error.code if isinstance(error, DomainError) else ReindexingFailed.code
        async with self.transactions() as work:
            if move := await work.reindexings.running(knowledge_base):
                await work.reindexings.fail(move.id, reason, at=self.now())
            await work.commit()
        report(Progress(step="done", percent=100))

    async def _running(self, knowledge_base: KnowledgeBaseId) -> Reindexing | None:
        async with self.transactions() as work:
            return await work.reindexings.running(knowledge_base)

    # Building --------------------------------------------------------------------------------------------------------

    async def _build(self, move: Reindexing) -> None:
        """Document by document. The target is never searched before it has all of them."""
        embedder = embedder_of(self.embedders, move.target)
        clock = asyncio.get_running_loop().time
        end = clock() + self.turn.total_seconds()
        while missing := await self._missing(move):
            async for group in self._groups(missing):
                await self._embed(embedder, move.target, group)
                if clock() >= end:
                    raise ToBeContinued
        await self._finish(move)

    async def _missing(self, move: Reindexing) -> Sequence[_Due]:
        """Some of what is missing in the target, without chunks; nothing when the move is not wanted any more."""
        async with self.transactions() as work:
            if await work.reindexings.running(move.knowledge_base) != move:
                return []
            found = await work.documents.lacking(move.knowledge_base, move.target, limit=DOCUMENTS_AT_ONCE)
            begun = await work.documents.begin_embedding([document for document, _ in found], move.target)
            await work.commit()
        return [_Due(document, attempt, document not in begun) for document, attempt in found]

    async def _groups(self, missing: Sequence[_Due]) -> AsyncIterator[Sequence[_Due]]:
        """Documents with their chunks, as many as fit into memory with their vectors."""
        group: list[_Due] = []
        for due in missing:
            whole = replace(due, chunks=await self.views.chunks_of(due.document))
            if len(whole.chunks) > self.part:
                yield [whole]
                continue
            group.append(whole)
            if sum(len(due.chunks) for due in group) >= CHUNKS_AT_ONCE:
                yield group
                group = []
        if group:
            yield group

    async def _embed(self, embedder: Embedder, space: EmbeddingSpace, group: Sequence[_Due]) -> None:
        if len(group[0].chunks) > self.part:
            await self._embed_in_parts(embedder, space, group[0])
            return
        embedded = await self._embedded(embedder, group)
        chunks = [chunk for due, one in zip(group, embedded, strict=True) for chunk in _with_vectors(due, one)]
        if begun := [due.document for due in group if not due.new]:
            # With what earlier attempts have left there that were found by words.
            await self.index.remove(space, begun)
        await self.index.add(space, chunks, new=all(due.new for due in group))
        if gone := await self._store(space, group, embedded):
            await self.index.remove(space, gone)

    async def _embed_in_parts(self, embedder: Embedder, space: EmbeddingSpace, due: _Due) -> None:
        if not due.new:
            await self.index.remove(space, [due.document])
        texts = [stored.chunk.search_text for stored in due.chunks]
        async with aclosing(in_parts(embedder, texts, self.part)) as parts:
            async for first, embedded in parts:
                await self.index.add(space, _with_vectors(due, embedded, first), new=due.new)
                if not await store_part(self.transactions, due.document, due.attempt, space, first, embedded):
                    break
        async with self.transactions() as work:
            is_embedded = await work.documents.mark_embedded(due.document, due.attempt, space)
            await work.commit()
        if not is_embedded:
            await self.index.remove(space, [due.document])

    async def _embedded(self, embedder: Embedder, group: Sequence[_Due]) -> Sequence[Embedded]:
        turns = asyncio.Semaphore(EMBEDDED_AT_ONCE)

        async def embed(due: _Due) -> Embedded:
            async with turns:
                return await embedder.embed_document([stored.chunk.search_text for stored in due.chunks])

        running = [asyncio.create_task(embed(due)) for due in group]
        try:
            return await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()

    async def _store(
        self, space: EmbeddingSpace, group: Sequence[_Due], embedded: Sequence[Embedded]
    ) -> Sequence[DocumentId]:
        """Return those that have been deleted in the meantime."""
        gone = []
        async with self.transactions() as work:
            for due, one in zip(group, embedded, strict=True):
                place = due.document, due.attempt, space
                if due.chunks:
                    await work.documents.store_vectors(*place, one.vectors, one.statistics)
                if not await work.documents.mark_embedded(*place):
                    gone.append(due.document)
            await work.commit()
        return gone

    async def _finish(self, move: Reindexing) -> None:
        """Raises `ToBeContinued` when a document has come at the last moment."""
        async with self.transactions() as work:
            done = await work.reindexings.finish(move.id, at=self.now())
            still_wanted = await work.reindexings.running(move.knowledge_base) == move
            await work.commit()
        if still_wanted and not done:
            raise ToBeContinued

    # Tidying ---------------------------------------------------------------------------------------------------------

    async def _tidy(self, knowledge_base: KnowledgeBaseId) -> None:
        """Out of the index first, and out of the database when nothing is left there."""
        async with self.transactions() as work:
            unwanted = await work.reindexings.withdraw_unwanted(knowledge_base, kept_since=self.now() - self.kept_for)
            await work.commit()
        for first in range(0, len(unwanted), DROPPED_AT_ONCE):
            await self._drop(unwanted[first : first + DROPPED_AT_ONCE])

    async def _drop(self, withdrawn: Sequence[tuple[DocumentId, EmbeddingSpace]]) -> None:
        for space in {space for _, space in withdrawn}:
            await self.index.remove(space, [document for document, its_space in withdrawn if its_space == space])
        async with self.transactions() as work:
            await work.reindexings.drop(withdrawn)
            await work.commit()


@dataclass(frozen=True, slots=True)
class SweepReindexings:
    """Ask again for moves whose job got lost, have vectors dropped that have been kept for long enough, and forget old
    moves. Does nothing twice; run it at start and every few minutes."""

    transactions: UnitOfWorkFactory
    jobs: Jobs
    runner: JobRunner
    now: Clock
    kept_for: timedelta = KEPT_FOR

    async def __call__(self) -> None:
        kept_since = self.now() - self.kept_for
        async with self.transactions() as work:
            unsettled = await work.reindexings.unsettled(kept_since=kept_since)
            await work.reindexings.forget_before(kept_since)
            await work.commit()
        for knowledge_base in unsettled:
            await self.jobs.enqueue(job_of(knowledge_base), background=True)
        self.runner.nudge()


def _with_vectors(due: _Due, embedded: Embedded, first: int = 0) -> list[StoredChunk]:
    chunks = due.chunks[first : first + len(embedded.vectors)]
    return [replace(stored, vector=vector) for stored, vector in zip(chunks, embedded.vectors, strict=True)]
