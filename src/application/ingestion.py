"""Reading documents in: a document is fully searchable, or it is not listed.

What has been read is found by its words while it waits for its vectors; what is listed has both.

The file is stored, then a row that says so; from then on it is a job, which whoever is free takes to its end: `ready`,
or `failed` with a reason. The row is the truth; a job that got lost is asked for again by the sweeper.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from llm_backend.application.clearing import clear_away
from llm_backend.application.embedding_in_parts import PART, in_parts, store_part
from llm_backend.application.ending import ended
from llm_backend.application.job_runner import Report, may_pass
from llm_backend.application.originals import content_of, fetched
from llm_backend.application.ports.blobs import BlobKey, BlobNotFound, Blobs
from llm_backend.application.ports.document_parser import DocumentParser
from llm_backend.application.ports.embedder import Embedded, Embedder, Embedders, Vector
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.jobs import JobId, Progress
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from llm_backend.domain.chunking import DEFAULT_SIZES, ChunkSizes, chunks_of, search_text_of
from llm_backend.domain.errors import (
    DomainError,
    EmbeddingFailed,
    EmbeddingModelChanged,
    IngestionFailed,
    OriginalMissing,
)
from llm_backend.domain.files import Attachment
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import (
    Chunk,
    Document,
    DocumentState,
    EmbeddingSpace,
    IngestionStep,
    ParsedDocument,
    StoredChunk,
)

PARSING = Progress(step=IngestionStep.PARSING, percent=10)
EMBEDDING = Progress(step=IngestionStep.EMBEDDING, percent=40)
INDEXING = Progress(step=IngestionStep.INDEXING, percent=80)
DONE = Progress(step=IngestionStep.DONE, percent=100)
# How long vectors may take before the words go ahead. Those of a few pages are there by then, and what goes ahead costs
# a commit and two writes to the index more.
PATIENCE = timedelta(seconds=1)


def embedder_of(embedders: Embedders, space: EmbeddingSpace) -> Embedder:
    """Raises `UnknownEmbeddingModel`, `ApiKeyRequired`, or `EmbeddingFailed` when the model was reconfigured since."""
    embedder = embedders.get(space.model)
    if embedder.space != space:
        raise EmbeddingFailed("The embedding model now has other dimensions than this knowledge base")
    return embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What a try has read of a document, and whether the database has that already."""

    document: Document
    space: EmbeddingSpace
    parsed: ParsedDocument
    chunks: Sequence[Chunk]
    is_stored: bool = False

    def passages(self) -> list[StoredChunk]:
        """For the index, without vectors."""
        return self._joined(self.chunks, [None] * len(self.chunks))

    def passages_with(self, vectors: Sequence[Vector], first: int = 0) -> list[StoredChunk]:
        """For the index: those from the `first` on, for as many as there are vectors."""
        return self._joined(self.chunks[first : first + len(vectors)], vectors)

    def _joined(self, chunks: Sequence[Chunk], vectors: Sequence[Vector | None]) -> list[StoredChunk]:
        document = self.document
        return [
            StoredChunk(
                knowledge_base=document.knowledge_base,
                document=document.id,
                attempt=document.attempt,
                chunk=chunk,
                vector=vector,
            )
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class IngestDocument:
    """The work of the job that is called like a document: read it in, or clear up what is left of a try.

    May be cut off anywhere. Each try has a number, and what an earlier one writes too late has no effect.
    """

    transactions: UnitOfWorkFactory
    blobs: Blobs
    parser: DocumentParser
    folding: Folding
    embedders: Embedders
    index: PassageIndex
    scratch: Path | None = None  # where the parser finds the file; without, the system's folder for temporary files
    patience: timedelta = PATIENCE
    part: int = PART

    async def __call__(self, job: JobId, report: Report) -> None:
        """Raises what the parser raises, `UnknownEmbeddingModel`, `EmbeddingFailed`, `Unavailable`, `StorageFull`,
        `OriginalMissing` when the file is not kept here, or `EmbeddingModelChanged`."""
        begun = await self._begin(DocumentId(job))
        if begun is None:
            await self._clear(DocumentId(job))
        elif await self._read_in(*begun, report):
            report(DONE)

    async def give_up(self, job: JobId, error: Exception, report: Report) -> None:
        async with self.transactions() as work:
            await work.documents.mark_failed(DocumentId(job), _reason(error))
            await work.commit()
        report(DONE)
        await self._clear(DocumentId(job))

    async def _begin(self, document: DocumentId) -> tuple[Document, EmbeddingSpace, Attachment | None] | None:
        async with self.transactions() as work:
            attachment = await work.files.attachment(document)
            attempt = await work.documents.begin_attempt(document)
            found = await work.documents.find(document)
            await work.commit()
        if attempt is None or found is None or found[1] is None:
            return None
        return replace(found[0], attempt=attempt), found[1], attachment

    async def _read_in(
        self, document: Document, space: EmbeddingSpace, attachment: Attachment | None, report: Report
    ) -> bool:
        """False when it is not wanted any more, or somebody else is at it."""
        report(PARSING)
        embedder = embedder_of(self.embedders, space)
        reading = await self._read(document, space, attachment)
        report(EMBEDDING)
        if len(reading.chunks) > self.part:
            return await self._in_parts(reading, embedder, report)
        embedded = await self._embedded(reading, embedder)
        if embedded is None:
            return False
        report(INDEXING)
        return await self._index(*embedded)

    async def _read(self, document: Document, space: EmbeddingSpace, attachment: Attachment | None) -> _Reading:
        parsed = await self._parsed(document, content_of(document.id, attachment))
        chunks = await asyncio.to_thread(self._chunks, parsed, document.name, _sizes_of(attachment))
        return _Reading(document=document, space=space, parsed=parsed, chunks=chunks)

    async def _parsed(self, document: Document, content: BlobKey) -> ParsedDocument:
        try:
            async with fetched(self.blobs, content, self.scratch) as file:
                return await self.parser.parse(file, document.name)
        except BlobNotFound as error:
            raise OriginalMissing from error

    def _chunks(self, parsed: ParsedDocument, name: str, sizes: ChunkSizes) -> list[Chunk]:
        title = parsed.title or name
        return [
            replace(chunk, search_text=self.folding(search_text_of(title, chunk))) for chunk in chunks_of(parsed, sizes)
        ]

    # Words and vectors ------------------------------------------------------------------------------------------------

    async def _embedded(self, reading: _Reading, embedder: Embedder) -> tuple[_Reading, Embedded] | None:
        """None when it is not wanted any more."""
        embedding = asyncio.create_task(embedder.embed_document([chunk.search_text for chunk in reading.chunks]))
        try:
            going_on = await self._published(reading) if await self._is_late(embedding) else reading
            return (going_on, await embedding) if going_on else None
        finally:
            await ended(embedding)

    async def _is_late(self, embedding: "asyncio.Task[Embedded]") -> bool:
        """Whether the vectors will be there later, be it at another try."""
        await asyncio.wait([embedding], timeout=self.patience.total_seconds())
        return not embedding.done() or may_pass(embedding.exception())

    async def _published(self, reading: _Reading) -> _Reading | None:
        """From now on it is found by its words, if it is not already, and unless it is a new version: what that will
        replace is found as yet. None when it is not wanted any more."""
        document, space = reading.document, reading.space
        if document.replaces or document.readable_attempt is not None:
            return reading
        await self._clear_earlier(reading)
        await self.index.add(space, reading.passages(), new=True)
        async with self.transactions() as work:
            going_on = await _stored_contents(work, reading)
            attempt = await work.documents.mark_readable(document.id, document.attempt, space) if going_on else None
            await work.commit()
        if attempt is None:
            await self._take_back(document, space)
            return None
        readable = replace(document, attempt=attempt, readable_attempt=document.attempt)
        return replace(reading, document=readable, is_stored=True)

    # Large documents -------------------------------------------------------------------------------------------------

    async def _in_parts(self, reading: _Reading, embedder: Embedder, report: Report) -> bool:
        """The same for one whose vectors are too many to be held together. Its words go ahead; of its vectors, nothing
        is found before the last."""
        begun = await self._gone_ahead(reading)
        if begun is None:
            return False
        if not await self._embedded_in_parts(begun, embedder, report):
            await self._take_back(begun.document, begun.space)
            return False
        report(INDEXING)
        await self._clear_earlier(begun)
        # All at the end: until then they would be in the way of what is listed.
        for first in range(0, len(begun.chunks), self.part):
            vectors = await self._vectors(begun, first)
            await self.index.add(begun.space, begun.passages_with(vectors, first), new=True)
        return await self._end(begun)

    async def _embedded_in_parts(self, reading: _Reading, embedder: Embedder, report: Report) -> bool:
        """False when it is not wanted any more, or somebody else is at it."""
        place = reading.document.id, reading.document.attempt, reading.space
        texts = [chunk.search_text for chunk in reading.chunks]
        async with aclosing(in_parts(embedder, texts, self.part)) as parts:
            async for first, embedded in parts:
                if not await store_part(self.transactions, *place, first, embedded):
                    return False
                report(_embedding((first + len(embedded.vectors)) / len(texts)))
        return True

    async def _gone_ahead(self, reading: _Reading) -> _Reading | None:
        """With what was read stored, for its vectors to hang on. None when it is not wanted any more."""
        going_on = await self._published(reading)
        if going_on is None or going_on.is_stored:
            return going_on
        async with self.transactions() as work:
            is_wanted = await _stored_contents(work, going_on)
            await work.commit()
        if is_wanted:
            return replace(going_on, is_stored=True)
        await self._take_back(going_on.document, going_on.space)
        return None

    async def _vectors(self, reading: _Reading, first: int) -> Sequence[Vector]:
        """Empty when it is not wanted any more, or somebody else is at it."""
        place = reading.document.id, reading.document.attempt, reading.space
        async with self.transactions() as work:
            return await work.documents.vectors(*place, first=first, limit=self.part)

    # The end ----------------------------------------------------------------------------------------------------------

    async def _index(self, reading: _Reading, embedded: Embedded) -> bool:
        """False when it is not wanted any more, or somebody else is at it."""
        await self._clear_earlier(reading)
        await self.index.add(reading.space, reading.passages_with(embedded.vectors), new=True)
        return await self._end(reading, embedded)

    async def _end(self, reading: _Reading, embedded: Embedded | None = None) -> bool:
        """With vectors that are not stored yet, if there are any. False when it is not wanted any more, or somebody
        else is at it."""
        document, space = reading.document, reading.space
        ready, replaced = await self._finish(reading, embedded)
        if replaced:
            await clear_away(self.index, self.blobs, [space], replaced)
        if not ready:
            await self._take_back(document, space)
        elif document.readable_attempt is not None:
            await self._clear(document.id)
        return ready

    async def _clear_earlier(self, reading: _Reading) -> None:
        """Out of the index. No two tries have one number, so that what is added then is always new."""
        document = reading.document
        for earlier in range(1, document.attempt):  # and not what somebody may have added who was quicker meanwhile
            if earlier != document.readable_attempt:
                await self.index.remove(reading.space, [document.id], attempt=earlier)

    async def _finish(self, reading: _Reading, embedded: Embedded | None) -> tuple[bool, Sequence[DocumentId]]:
        """Whether it is ready now, and which documents have given way to it. All that has not gone ahead is in one
        commit: each costs a write to the disk."""
        id_, attempt = reading.document.id, reading.document.attempt
        ready, replaced = False, list[DocumentId]()
        async with self.transactions() as work:
            if reading.is_stored or await _stored_contents(work, reading):
                if embedded is not None:
                    await work.documents.store_vectors(
                        id_, attempt, reading.space, embedded.vectors, embedded.statistics
                    )
                ready = await work.documents.mark_ready(id_, attempt)
            if ready and reading.document.replaces:
                replaced += await work.documents.bury_replaced(id_)
            await work.commit()
        return ready, replaced

    async def _take_back(self, document: Document, space: EmbeddingSpace) -> None:
        """What this try has put into the index last. Raises `EmbeddingModelChanged` when the document is still wanted
        of us, but in another space."""
        await self.index.remove(space, [document.id], attempt=document.attempt)
        await self._clear(document.id)
        async with self.transactions() as work:
            found = await work.documents.find(document.id)
        if found and found[0].state is DocumentState.PENDING and found[0].attempt == document.attempt:
            raise EmbeddingModelChanged

    async def _clear(self, document: DocumentId) -> None:
        """What is neither pending nor ready has no passages and no file. What is ready has no more of those that were
        found by their words before."""
        async with self.transactions() as work:
            found = await work.documents.find(document)
            spaces = await work.documents.spaces_of([document])
        state = found[0].state if found else DocumentState.DELETED
        words = found[0].readable_attempt if found else None
        if state is DocumentState.PENDING or (state is DocumentState.READY and words is None):
            return
        for space in spaces:
            await self.index.remove(space, [document], attempt=words if state is DocumentState.READY else None)
        if state is not DocumentState.READY:
            await self._drop_original(document)

    async def _drop_original(self, document: DocumentId) -> None:
        with suppress(DomainError):  # the sweeper comes across it
            await self.blobs.delete([BlobKey(document)])


def _sizes_of(attachment: Attachment | None) -> ChunkSizes:
    return attachment.chunking.sizes if attachment and attachment.chunking else DEFAULT_SIZES


def _embedding(share: float) -> Progress:
    """How far it is when that share of the vectors is there."""
    return replace(EMBEDDING, percent=EMBEDDING.percent + int(share * (INDEXING.percent - EMBEDDING.percent)))


def _reason(error: Exception) -> str:
    return error.code if isinstance(error, DomainError) else IngestionFailed.code


async def _stored_contents(work: UnitOfWork, reading: _Reading) -> bool:
    """False when it is not wanted any more, or somebody else is at it."""
    document, parsed = reading.document, reading.parsed
    return await work.documents.store_contents(
        document.id, document.attempt, parsed.file_type, parsed.text, reading.chunks, parsed.blocks
    )
