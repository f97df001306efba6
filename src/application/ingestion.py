"""Reading documents in: a document is fully searchable, or it is not listed."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.document_parser import DocumentParser
from llm_backend.application.ports.embedder import Embedded, Embedder, Embedders
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.domain.chunking import chunks_of, search_text_of
from llm_backend.domain.errors import DomainError, EmbeddingFailed, KnowledgeBaseNotFound
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Chunk,
    Document,
    EmbeddingSpace,
    KnowledgeBase,
    ParsedDocument,
    StoredChunk,
    base_name,
)


class Uploaded(NamedTuple):
    """A document that was read in, and the number of chunks it was cut into."""

    document: Document
    chunks: int


@dataclass(frozen=True, slots=True)
class UploadDocument:
    """Read a file into a knowledge base. When this returns, the document is stored, listed and searchable.

    What is cut off in between, by an error or by a crash, is never listed; the sweeper removes it.
    """

    transactions: UnitOfWorkFactory
    views: KnowledgeViews
    parser: DocumentParser
    folding: Folding
    embedders: Embedders
    index: PassageIndex
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        file: Path,
        name: str,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> Uploaded:
        """Raises `KnowledgeBaseNotFound` before it looks at the file, `InvalidDocumentName`, what the parser raises,
        `EmbeddingFailed`, or `IdempotencyMismatch`."""
        shelf = await self.views.knowledge_base(owner, knowledge_base)
        if idempotency and (earlier := await self._earlier(shelf, idempotency)):
            return earlier
        embedder = self._embedder(shelf)
        title = base_name(name)
        parsed = await self.parser.parse(file, title)
        chunks = await asyncio.to_thread(self._chunks, parsed, title)
        document = await self._document(shelf, file, title, parsed.file_type)
        await self._begin(document, parsed.text, chunks)
        try:
            return await self._finish(document, chunks, embedder, idempotency)
        except KnowledgeBaseNotFound:
            await self._withdraw(document, shelf.space)
            raise
        except AlreadyRecorded:
            await self._give_up(document)
            return await self._faster(shelf, idempotency)
        except BaseException:
            await self._give_up(document)
            raise

    def _embedder(self, shelf: KnowledgeBase) -> Embedder:
        embedder = self.embedders.get(shelf.space.model)
        if embedder.space != shelf.space:  # the model was reconfigured since
            raise EmbeddingFailed("The embedding model now has other dimensions than this knowledge base")
        return embedder

    def _chunks(self, parsed: ParsedDocument, name: str) -> list[Chunk]:
        title = parsed.title or name
        return [replace(chunk, search_text=self.folding(search_text_of(title, chunk))) for chunk in chunks_of(parsed)]

    async def _document(self, shelf: KnowledgeBase, file: Path, name: str, file_type: str) -> Document:
        size, sha256 = await asyncio.to_thread(_measured, file)
        return Document(
            id=DocumentId(self.ids.uuid()),
            knowledge_base=shelf.id,
            owner=shelf.owner,
            name=name,
            file_type=file_type,
            size=size,
            sha256=sha256,
            created_at=self.now(),
        )

    async def _begin(self, document: Document, text: str, chunks: Sequence[Chunk]) -> None:
        async with self.transactions() as work:
            await work.documents.add(document, text, chunks)
            await work.commit()

    async def _finish(
        self, document: Document, chunks: Sequence[Chunk], embedder: Embedder, idempotency: IdempotencyKey | None
    ) -> Uploaded:
        embedded = await embedder.embed_document([chunk.search_text for chunk in chunks])
        await self.index.add(embedder.space, _stored(document, chunks, embedded))
        async with self.transactions() as work:
            await work.documents.store_vectors(document.id, document.attempt, embedded.vectors, embedded.statistics)
            if not await work.documents.mark_ready(document.id, document.attempt):
                raise KnowledgeBaseNotFound  # nobody else could delete a document that was not listed yet
            if idempotency:
                outcome = f"{document.id} {len(chunks)}"
                await work.idempotency.record(document.owner, idempotency, outcome, at=document.created_at)
            await work.commit()
        return Uploaded(document, len(chunks))

    async def _give_up(self, document: Document) -> None:
        """The index is left to the sweeper: if a commit went through and only its result was lost, the document is
        ready, and must stay searchable."""
        with suppress(DomainError):
            async with self.transactions() as work:
                await work.documents.bury_unfinished(document.id)
                await work.commit()

    async def _withdraw(self, document: Document, space: EmbeddingSpace) -> None:
        """The sweeper may have been here before the index was written to, and then will not come again."""
        with suppress(DomainError):
            await self.index.remove(space, [document.id])

    async def _earlier(self, shelf: KnowledgeBase, idempotency: IdempotencyKey) -> Uploaded | None:
        async with self.transactions() as work:
            outcome = await work.idempotency.outcome(shelf.owner, idempotency)
            if outcome is None:
                return None
            document, chunks = outcome.split()
            return Uploaded(await work.documents.get(shelf.owner, shelf.id, DocumentId(document)), int(chunks))

    async def _faster(self, shelf: KnowledgeBase, idempotency: IdempotencyKey | None) -> Uploaded:
        earlier = await self._earlier(shelf, idempotency) if idempotency else None
        if earlier is None:
            raise AlreadyRecorded
        return earlier


def _measured(file: Path) -> tuple[int, str]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return stream.tell(), digest.hexdigest()


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
