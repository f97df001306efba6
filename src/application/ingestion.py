"""Reading documents in: a document is fully searchable, or it is not listed.

The file is stored, then a row that says so; from then on it is a job, which whoever is free takes to its end: `ready`,
or `failed` with a reason. The row is the truth; a job that got lost is asked for again by the sweeper.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from llm_backend.application.clearing import clear_away
from llm_backend.application.job_runner import Report
from llm_backend.application.originals import content_of, fetched
from llm_backend.application.ports.blobs import BlobKey, BlobNotFound, Blobs
from llm_backend.application.ports.document_parser import DocumentParser
from llm_backend.application.ports.embedder import Embedded, Embedder, Embedders
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.jobs import JobId, Progress
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
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


def embedder_of(embedders: Embedders, space: EmbeddingSpace) -> Embedder:
    """Raises `UnknownEmbeddingModel`, `ApiKeyRequired`, or `EmbeddingFailed` when the model was reconfigured since."""
    embedder = embedders.get(space.model)
    if embedder.space != space:
        raise EmbeddingFailed("The embedding model now has other dimensions than this knowledge base")
    return embedder


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

    async def __call__(self, job: JobId, report: Report) -> None:
        """Raises what the parser raises, `UnknownEmbeddingModel`, `EmbeddingFailed`, `Unavailable`, `StorageFull`,
        `OriginalMissing` when the file is not kept here, or `EmbeddingModelChanged`."""
        begun = await self._begin(DocumentId(job))
        if begun is None:
            await self._clear(DocumentId(job))
        elif await self._read_in(*begun, report):
            report(DONE)
        else:
            await self.index.remove(begun[1], [begun[0].id], attempt=begun[0].attempt)
            await self._clear(begun[0].id)
            await self._check_whether_it_moved(begun[0])

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
        parsed = await self._parsed(document, content_of(document.id, attachment))
        chunks = await asyncio.to_thread(self._chunks, parsed, document.name, _sizes_of(attachment))
        report(EMBEDDING)
        embedded = await embedder.embed_document([chunk.search_text for chunk in chunks])
        report(INDEXING)
        for earlier in range(1, document.attempt):  # and not what somebody may have added who was quicker meanwhile
            await self.index.remove(space, [document.id], attempt=earlier)
        await self.index.add(space, _stored(document, chunks, embedded), new=True)  # no two tries have one number
        ready, replaced = await self._finish(document, space, parsed, chunks, embedded)
        if replaced:
            await clear_away(self.index, self.blobs, [space], replaced)
        return ready

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

    async def _finish(
        self,
        document: Document,
        space: EmbeddingSpace,
        parsed: ParsedDocument,
        chunks: Sequence[Chunk],
        embedded: Embedded,
    ) -> tuple[bool, Sequence[DocumentId]]:
        """Whether it is ready now, and which documents have given way to it. All in one commit: each costs a write to
        the disk, and nobody reads what is in a document before it is ready."""
        id_, attempt = document.id, document.attempt
        ready, replaced = False, list[DocumentId]()
        async with self.transactions() as work:
            if await work.documents.store_contents(id_, attempt, parsed.file_type, parsed.text, chunks, parsed.blocks):
                await work.documents.store_vectors(id_, attempt, space, embedded.vectors, embedded.statistics)
                ready = await work.documents.mark_ready(id_, attempt)
            if ready and document.replaces:
                replaced += await work.documents.bury_replaced(id_)
            await work.commit()
        return ready, replaced

    async def _clear(self, document: DocumentId) -> None:
        """What is neither pending nor ready has no passages and no file."""
        async with self.transactions() as work:
            found = await work.documents.find(document)
            spaces = await work.documents.spaces_of([document])
        state = found[0].state if found else DocumentState.DELETED
        if state in {DocumentState.PENDING, DocumentState.READY}:
            return
        for space in spaces:
            await self.index.remove(space, [document])
        await self._drop_original(document)

    async def _check_whether_it_moved(self, document: Document) -> None:
        """Raises `EmbeddingModelChanged` when it is still wanted of us, but in another space."""
        async with self.transactions() as work:
            found = await work.documents.find(document.id)
        if found and found[0].state is DocumentState.PENDING and found[0].attempt == document.attempt:
            raise EmbeddingModelChanged

    async def _drop_original(self, document: DocumentId) -> None:
        with suppress(DomainError):  # the sweeper comes across it
            await self.blobs.delete([BlobKey(document)])


def _sizes_of(attachment: Attachment | None) -> ChunkSizes:
    return attachment.chunking.sizes if attachment and attachment.chunking else DEFAULT_SIZES


def _reason(error: Exception) -> str:
    return error.code if isinstance(error, DomainError) else IngestionFailed.code


def _stored(document: Document, chunks: Sequence[Chunk], embedded: Embedded) -> list[StoredChunk]:
    return [
        StoredChunk(
            knowledge_base=document.knowledge_base,
            document=document.id,
            attempt=document.attempt,
            chunk=chunk,
            vector=vector,
        )
        for chunk, vector in zip(chunks, embedded.vectors, strict=True)
    ]
