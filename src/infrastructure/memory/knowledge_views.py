"""Looking at knowledge bases in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from llm_backend.application.ports.views import FindableDocument
from llm_backend.domain.errors import DocumentNotFound, ReindexingNotFound
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Chunk,
    Document,
    DocumentState,
    DocumentStatus,
    DocumentSummary,
    EmbeddingSpace,
    Excerpt,
    KnowledgeBase,
    StoredChunk,
)
from llm_backend.domain.reindexing import ReindexingStatus
from llm_backend.infrastructure.memory.knowledge import is_ready, is_seen, knowledge_base_of
from llm_backend.infrastructure.memory.tables import DocumentRow, Place


@dataclass(frozen=True, slots=True)
class MemoryKnowledgeViews:
    """Knowledge bases and ready documents to look at."""

    place: Place

    async def knowledge_bases(self, owner: UserId) -> Sequence[KnowledgeBase]:
        return [replace(one) for one in self.place.tables.knowledge_bases.values() if one.owner == owner]

    async def knowledge_base(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> KnowledgeBase:
        return replace(knowledge_base_of(self.place.tables, owner, knowledge_base))

    async def documents(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> Sequence[DocumentSummary]:
        knowledge_base_of(self.place.tables, owner, knowledge_base)
        return [_summary(row.document) for row in self._ready(knowledge_base)]

    async def document(self, owner: UserId, document: DocumentId) -> DocumentStatus:
        row = self.place.tables.documents.get(document)
        if row is None or not is_seen(row, owner):
            raise DocumentNotFound
        return DocumentStatus.at_rest(replace(row.document), len(row.chunks))

    async def findable(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentId]
    ) -> Mapping[DocumentId, FindableDocument]:
        rows = [self.place.tables.documents.get(document) for document in documents]
        theirs = [row.document for row in rows if row is not None and row.document.owner == owner]
        return {
            one.id: FindableDocument(
                name=one.name, attempt=attempt, by_words_alone=one.state is not DocumentState.READY
            )
            for one in theirs
            if one.knowledge_base == knowledge_base and (attempt := one.found_attempt) is not None
        }

    async def quotation(self, owner: UserId, document: DocumentId, start: int, end: int) -> str | None:
        row = self.place.tables.documents.get(document)
        if row is None or row.document.owner != owner or row.document.found_attempt is None:
            return None
        return row.text[start:end]

    async def excerpt(self, owner: UserId, document: DocumentId, start: int, end: int) -> Excerpt:
        row = self._ready_one(owner, document)
        return Excerpt(
            document=replace(row.document),
            length=len(row.text),
            start=start,
            text=row.text[start:end],
            blocks=[block for block in row.blocks if block.start < end and block.end > start],
        )

    async def document_chunks(
        self, owner: UserId, document: DocumentId, *, after: int = -1, limit: int
    ) -> Sequence[Chunk]:
        chunks = (stored.chunk for stored in self._ready_one(owner, document).chunks)
        return [chunk for chunk in chunks if chunk.position > after][:limit]

    async def statistics_stamp(self, knowledge_base: KnowledgeBaseId) -> str:
        documents = [(row.document.id, row.document.attempt) for row in self._ready(knowledge_base)]
        return sha256(repr(documents).encode()).hexdigest()

    async def statistics(
        self, knowledge_base: KnowledgeBaseId, space: EmbeddingSpace, *, limit: int = 200
    ) -> Sequence[bytes]:
        embedded = [row.embeddings[space] for row in self._embedded(space, knowledge_base)]
        oldest_first = [one.statistics for one in embedded if one.statistics is not None]
        return oldest_first[::-1][:limit]

    async def spaces(self) -> Sequence[EmbeddingSpace]:
        of_shelves = [one.space for one in self.place.tables.knowledge_bases.values()]
        rows = self.place.tables.documents.values()
        of_documents = [space for row in rows for space, one in row.embeddings.items() if one.complete]
        return list(dict.fromkeys([*of_shelves, *of_documents]))

    async def chunk_counts(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        rows = self._indexed(space)
        return {(row.document.id, _found_attempt(row)): len(row.chunks) for row in rows if row.chunks}

    async def chunks(
        self, space: EmbeddingSpace, *, after: tuple[DocumentId, int] | None = None, limit: int = 1000
    ) -> Sequence[StoredChunk]:
        every = [chunk for row in self._indexed(space) for chunk in _with_vectors(row, space)]
        return sorted((chunk for chunk in every if after is None or _place(chunk) > after), key=_place)[:limit]

    async def chunks_of(self, document: DocumentId) -> Sequence[StoredChunk]:
        rows = [row for row in self._ready() if row.document.id == document]
        return [replace(chunk, attempt=_found_attempt(row)) for row in rows for chunk in row.chunks]

    async def reindexing(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> ReindexingStatus:
        knowledge_base_of(self.place.tables, owner, knowledge_base)
        found = [one for one in self.place.tables.reindexings.values() if one.knowledge_base == knowledge_base]
        if not found:
            raise ReindexingNotFound
        return ReindexingStatus(
            reindexing=found[-1],
            chunks=sum(len(row.chunks) for row in self._ready(knowledge_base)),
            embedded=sum(len(row.chunks) for row in self._embedded(found[-1].target, knowledge_base)),
        )

    def _indexed(self, space: EmbeddingSpace) -> list[DocumentRow]:
        """Those that the index of that space should have: what is readable is so in the space of its knowledge base."""
        pending = [row for row in self.place.tables.documents.values() if row.document.state is DocumentState.PENDING]
        readable = [row for row in pending if row.document.found_attempt is not None]
        shelves = self.place.tables.knowledge_bases
        here = [row for row in readable if shelves[row.document.knowledge_base].space == space]
        return [*self._embedded(space), *here]

    def _embedded(self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId | None = None) -> list[DocumentRow]:
        """Those that the index of that space has."""
        rows = self._ready(knowledge_base)
        return [row for row in rows if space in row.embeddings and row.embeddings[space].complete]

    def _ready_one(self, owner: UserId, document: DocumentId) -> DocumentRow:
        row = self.place.tables.documents.get(document)
        if row is None or not is_ready(row, owner):
            raise DocumentNotFound
        return row

    def _ready(self, knowledge_base: KnowledgeBaseId | None = None) -> list[DocumentRow]:
        """Oldest first; without a knowledge base, those of all."""
        rows = [row for row in self.place.tables.documents.values() if row.document.state is DocumentState.READY]
        return [row for row in rows if knowledge_base in {None, row.document.knowledge_base}]


def _with_vectors(row: DocumentRow, space: EmbeddingSpace) -> list[StoredChunk]:
    embedded = row.embeddings[space]
    vectors = (embedded.complete and embedded.vectors) or [None] * len(row.chunks)
    attempt = _found_attempt(row)
    return [replace(chunk, attempt=attempt, vector=vector) for chunk, vector in zip(row.chunks, vectors, strict=True)]


def _found_attempt(row: DocumentRow) -> int:
    attempt = row.document.found_attempt
    assert attempt is not None
    return attempt


def _place(stored: StoredChunk) -> tuple[DocumentId, int]:
    return stored.document, stored.chunk.position


def _summary(document: Document) -> DocumentSummary:
    return DocumentSummary(
        id=document.id,
        knowledge_base=document.knowledge_base,
        name=document.name,
        file_type=document.file_type,
        attributes=document.attributes,
    )
