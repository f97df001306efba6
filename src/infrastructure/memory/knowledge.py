"""Knowledge bases and documents in memory."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.domain.errors import DocumentNotFound, KnowledgeBaseNotFound
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Block,
    Chunk,
    Document,
    DocumentState,
    EmbeddingSpace,
    KnowledgeBase,
    StoredChunk,
)
from llm_backend.infrastructure.memory.deleted_places import note_place, note_place_of_document
from llm_backend.infrastructure.memory.tables import DocumentRow, EmbeddingRow, Place, Tables

NOTHING = EmbeddingRow()


@dataclass(frozen=True, slots=True)
class MemoryKnowledgeBases:
    """Knowledge bases by id."""

    place: Place

    async def add(self, knowledge_base: KnowledgeBase) -> None:
        self.place.tables.knowledge_bases[knowledge_base.id] = replace(knowledge_base)
        self.place.tables.number(knowledge_base.id)

    async def get(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> KnowledgeBase:
        return replace(knowledge_base_of(self.place.tables, owner, knowledge_base))

    async def rename(self, knowledge_base: KnowledgeBase) -> None:
        stored = knowledge_base_of(self.place.tables, knowledge_base.owner, knowledge_base.id)
        self.place.tables.knowledge_bases[stored.id] = replace(stored, name=knowledge_base.name)

    async def remove(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> None:
        tables = self.place.tables
        knowledge_base_of(tables, owner, knowledge_base)
        note_place(tables, owner, knowledge_base)
        del tables.knowledge_bases[knowledge_base], tables.numbers[knowledge_base]
        for move in [one for one in tables.reindexings.values() if one.knowledge_base == knowledge_base]:
            del tables.reindexings[move.id]
        tables.store_settings.pop(knowledge_base, None)
        for batch in [row.batch for row in tables.file_batches.values() if row.batch.knowledge_base == knowledge_base]:
            del tables.file_batches[batch.id]
        for row in list(tables.documents.values()):
            if row.document.knowledge_base == knowledge_base:
                _bury(tables, row)


@dataclass(frozen=True, slots=True)
class MemoryDocuments:
    """Documents by id."""

    place: Place

    async def add(
        self, document: Document, text: str = "", chunks: Sequence[Chunk] = (), blocks: Sequence[Block] = ()
    ) -> None:
        tables = self.place.tables
        shelf = knowledge_base_of(tables, document.owner, document.knowledge_base)
        tables.number(document.id)
        tables.documents[document.id] = DocumentRow(
            document=replace(document),
            text=text,
            chunks=_stored(document, chunks),
            blocks=tuple(blocks),
            embeddings={shelf.space: EmbeddingRow()},
        )

    async def get(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> Document:
        return replace(self._ready(owner, knowledge_base, document).document)

    async def alike(self, owner: UserId, knowledge_base: KnowledgeBaseId, name: str) -> Sequence[Document]:
        """Units of work come one after the other here."""
        knowledge_base_of(self.place.tables, owner, knowledge_base)
        mine = [row.document for row in self._present() if row.document.knowledge_base == knowledge_base]
        return [replace(one) for one in mine if one.name == name]

    async def describe(self, owner: UserId, document: DocumentId, attributes: Attributes) -> None:
        row = next((row for row in self._present() if row.document.id == document), None)
        if row is None or row.document.owner != owner:
            raise DocumentNotFound
        described = replace(row.document, attributes=dict(attributes))
        self.place.tables.documents[document] = replace(row, document=described)

    async def bury_replaced(self, document: DocumentId) -> Sequence[DocumentId]:
        newer = self.place.tables.documents[document].document
        buried = []
        for row in self._present():  # oldest first
            old = row.document
            if old.id == document:
                break
            if (old.knowledge_base, old.name) == (newer.knowledge_base, newer.name):
                _bury(self.place.tables, row)
                buried.append(old.id)
        return buried

    async def find(self, document: DocumentId) -> tuple[Document, EmbeddingSpace | None] | None:
        row = self.place.tables.documents.get(document)
        if row is None:
            return None
        shelf = self.place.tables.knowledge_bases.get(row.document.knowledge_base)
        known = shelf.id if shelf else KnowledgeBaseId("")
        return replace(row.document, knowledge_base=known), shelf.space if shelf else None

    async def spaces_of(self, documents: Sequence[DocumentId]) -> Mapping[EmbeddingSpace, Sequence[DocumentId]]:
        by_space: dict[EmbeddingSpace, list[DocumentId]] = defaultdict(list)
        for row in self.place.tables.documents.values():
            for space in row.embeddings if row.document.id in documents else ():
                by_space[space].append(row.document.id)
        return by_space

    async def begin_attempt(self, document: DocumentId) -> int | None:
        row = self._pending(document)
        if row is None:
            return None
        attempt = row.document.attempt + 1
        self._put(replace(row, document=replace(row.document, attempt=attempt)))
        self._enter(document, self.place.tables.knowledge_bases[row.document.knowledge_base].space)
        return attempt

    async def store_contents(
        self,
        document: DocumentId,
        attempt: int,
        file_type: str,
        text: str,
        chunks: Sequence[Chunk],
        blocks: Sequence[Block] = (),
    ) -> bool:
        row = self._pending(document)
        if row is None or row.document.attempt != attempt:
            return False
        self.place.tables.documents[document] = replace(
            row,
            document=replace(row.document, file_type=file_type),
            text=text,
            chunks=_stored(row.document, chunks),
            blocks=tuple(blocks),
            embeddings=dict.fromkeys(row.embeddings, NOTHING),
        )
        return True

    async def store_vectors(
        self,
        document: DocumentId,
        attempt: int,
        space: EmbeddingSpace,
        vectors: Sequence[bytes],
        statistics: bytes | None = None,
        *,
        first: int = 0,
    ) -> bool:
        row = self._pending(document) or self._ready_one(document)
        if row is None or row.document.attempt != attempt or space not in row.embeddings:
            return False
        before = row.embeddings[space].vectors
        every = (*before[:first], *vectors, *before[first + len(vectors) :])
        assert len(every) <= len(row.chunks)
        embedded = replace(row.embeddings[space], vectors=every, statistics=statistics)
        self._put(replace(row, embeddings={**row.embeddings, space: embedded}))
        return True

    async def vectors(
        self, document: DocumentId, attempt: int, space: EmbeddingSpace, *, first: int, limit: int
    ) -> Sequence[bytes]:
        row = self._pending(document) or self._ready_one(document)
        if row is None or row.document.attempt != attempt or space not in row.embeddings:
            return []
        return list(row.embeddings[space].vectors[first : first + limit])

    async def mark_readable(self, document: DocumentId, attempt: int, space: EmbeddingSpace) -> int | None:
        row = self._pending(document)
        if row is None or row.document.attempt != attempt:
            return None
        if self.place.tables.knowledge_bases[row.document.knowledge_base].space != space:
            return None
        readable = replace(row.document, readable_attempt=attempt, attempt=attempt + 1)
        self._put(replace(row, document=readable))
        return readable.attempt

    async def mark_ready(self, document: DocumentId, attempt: int) -> bool:
        row = self._pending(document)
        if row is None or row.document.attempt != attempt:
            return False
        space = self.place.tables.knowledge_bases[row.document.knowledge_base].space
        if space not in row.embeddings:
            return False
        self._put(with_embedding(row, space, complete=True))
        _put_in_state(self.place.tables, self.place.tables.documents[document], DocumentState.READY)
        return True

    async def lacking(
        self, knowledge_base: KnowledgeBaseId, space: EmbeddingSpace, *, limit: int
    ) -> Sequence[tuple[DocumentId, int]]:
        rows = lacking(self.place.tables, knowledge_base, space)
        return [(row.document.id, row.document.attempt) for row in rows[:limit]]

    async def begin_embedding(self, documents: Sequence[DocumentId], space: EmbeddingSpace) -> set[DocumentId]:
        ready = {document: row for document in documents if (row := self._ready_one(document))}
        for document in ready:
            self._enter(document, space)
        return {document for document, row in ready.items() if space in row.embeddings}

    async def mark_embedded(self, document: DocumentId, attempt: int, space: EmbeddingSpace) -> bool:
        row = self._ready_one(document)
        if row is None or row.document.attempt != attempt or space not in row.embeddings:
            return False
        self._put(with_embedding(row, space, complete=True))
        return True

    async def mark_failed(self, document: DocumentId, reason: str) -> bool:
        row = self._pending(document)
        if row is None:
            return False
        failed = replace(row.document, state=DocumentState.FAILED, reason=reason)
        self._put(replace(row, document=failed, text="", chunks=(), embeddings=dict.fromkeys(row.embeddings, NOTHING)))
        return True

    async def cancel(self, owner: UserId, document: DocumentId, reason: str) -> bool:
        row = self._pending(document)
        return row is not None and row.document.owner == owner and await self.mark_failed(document, reason)

    async def bury(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> None:
        row = self.place.tables.documents.get(document)
        if row is None or not is_seen(row, owner) or row.document.knowledge_base != knowledge_base:
            raise DocumentNotFound
        _bury(self.place.tables, row)

    async def pending(self) -> Sequence[DocumentId]:
        documents = [row.document for row in self.place.tables.documents.values()]
        return [one.id for one in documents if one.state is DocumentState.PENDING]

    async def living(self, documents: Sequence[DocumentId]) -> set[DocumentId]:
        rows = (self.place.tables.documents.get(document) for document in documents)
        living = {DocumentState.PENDING, DocumentState.READY}
        return {row.document.id for row in rows if row is not None and row.document.state in living}

    async def bury_failed(self, *, before: datetime) -> int:
        rows = list(self.place.tables.documents.values())
        failed = [row for row in rows if row.document.state is DocumentState.FAILED]
        old = [row for row in failed if row.document.created_at < before]
        for row in old:
            _bury(self.place.tables, row)
        return len(old)

    async def tombstones(self) -> Sequence[DocumentId]:
        rows = self.place.tables.documents.values()
        return [row.document.id for row in rows if row.document.state is DocumentState.DELETED]

    async def forget(self, document: DocumentId) -> None:
        row = self.place.tables.documents.get(document)
        if row is not None and row.document.state is DocumentState.DELETED:
            del self.place.tables.documents[document], self.place.tables.numbers[document]
            self.place.tables.attachments.pop(document, None)

    def _present(self) -> list[DocumentRow]:
        """Pending and ready ones, oldest first."""
        rows = self.place.tables.documents.values()
        return [row for row in rows if row.document.state in {DocumentState.PENDING, DocumentState.READY}]

    def _pending(self, document: DocumentId) -> DocumentRow | None:
        row = self.place.tables.documents.get(document)
        return row if row is not None and row.document.state is DocumentState.PENDING else None

    def _ready_one(self, document: DocumentId) -> DocumentRow | None:
        row = self.place.tables.documents.get(document)
        return row if row is not None and row.document.state is DocumentState.READY else None

    def _enter(self, document: DocumentId, space: EmbeddingSpace) -> None:
        row = self.place.tables.documents[document]
        self._put(replace(row, embeddings={space: NOTHING, **row.embeddings}))

    def _put(self, row: DocumentRow) -> None:
        self.place.tables.documents[row.document.id] = row

    def _ready(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> DocumentRow:
        row = self.place.tables.documents.get(document)
        if row is None or not is_ready(row, owner) or row.document.knowledge_base != knowledge_base:
            raise DocumentNotFound
        return row


def knowledge_base_of(tables: Tables, owner: UserId, knowledge_base: KnowledgeBaseId) -> KnowledgeBase:
    """The stored one, not a copy. Raises `KnowledgeBaseNotFound`."""
    found = tables.knowledge_bases.get(knowledge_base)
    if found is None or found.owner != owner:
        raise KnowledgeBaseNotFound
    return found


def lacking(tables: Tables, knowledge_base: KnowledgeBaseId, space: EmbeddingSpace) -> list[DocumentRow]:
    """Ready documents that the index of that space has not got, oldest first."""
    rows = [row for row in tables.documents.values() if row.document.knowledge_base == knowledge_base]
    ready = [row for row in rows if row.document.state is DocumentState.READY]
    return [row for row in ready if not row.embeddings.get(space, NOTHING).complete]


def unread(tables: Tables, knowledge_base: KnowledgeBaseId) -> None:
    """The index of another space has nothing of what was readable."""
    for id_, row in list(tables.documents.items()):
        if row.document.knowledge_base == knowledge_base and row.document.state is DocumentState.PENDING:
            tables.documents[id_] = replace(row, document=replace(row.document, readable_attempt=None))


def with_embedding(row: DocumentRow, space: EmbeddingSpace, *, complete: bool) -> DocumentRow:
    embedded = replace(row.embeddings[space], complete=complete)
    return replace(row, embeddings={**row.embeddings, space: embedded})


def is_seen(row: DocumentRow, owner: UserId) -> bool:
    return row.document.state is not DocumentState.DELETED and row.document.owner == owner


def is_ready(row: DocumentRow, owner: UserId) -> bool:
    return row.document.state is DocumentState.READY and row.document.owner == owner


def _bury(tables: Tables, row: DocumentRow) -> None:
    if row.document.state is not DocumentState.DELETED:
        note_place_of_document(tables, row.document)
        _put_in_state(tables, row, DocumentState.DELETED)


def _put_in_state(tables: Tables, row: DocumentRow, state: DocumentState) -> None:
    tables.documents[row.document.id] = replace(row, document=replace(row.document, state=state))


def _stored(document: Document, chunks: Sequence[Chunk]) -> tuple[StoredChunk, ...]:
    """By position."""
    return tuple(
        StoredChunk(knowledge_base=document.knowledge_base, document=document.id, attempt=document.attempt, chunk=chunk)
        for chunk in sorted(chunks, key=lambda chunk: chunk.position)
    )
