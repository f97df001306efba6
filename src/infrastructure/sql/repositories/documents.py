"""Documents with their texts, chunks and vectors, from pending to forgotten."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Text, and_, bindparam, delete, insert, select, update

from llm_backend.domain.errors import DocumentNotFound, KnowledgeBaseNotFound
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Block, Chunk, Document, EmbeddingSpace
from llm_backend.infrastructure.sql.contents import block_values
from llm_backend.infrastructure.sql.dialects import IsMember
from llm_backend.infrastructure.sql.errors import Violation
from llm_backend.infrastructure.sql.mapping import (
    DOCUMENT_COLUMNS,
    chunk_values,
    document_from,
    document_values,
    text_values,
)
from llm_backend.infrastructure.sql.rows import (
    DELETED,
    FAILED,
    PENDING,
    READY,
    document_blocks,
    document_statistics,
    document_texts,
    documents,
    knowledge_bases,
)
from llm_backend.infrastructure.sql.rows import (
    chunks as chunk_rows,
)
from llm_backend.infrastructure.sql.transaction import Transaction

_SPACE = select(knowledge_bases.c.embedding_model, knowledge_bases.c.dimensions).where(
    knowledge_bases.c.id == bindparam("shelf"), knowledge_bases.c.owner == bindparam("of")
)
_READY_ONE = and_(
    documents.c.id == bindparam("document"),
    documents.c.knowledge_base_id == bindparam("shelf"),
    documents.c.owner == bindparam("of"),
    documents.c.state == READY,
)
_PENDING_ATTEMPT = and_(
    documents.c.id == bindparam("document"),
    documents.c.attempt == bindparam("number"),
    documents.c.state == PENDING,
)
_PENDING_ONE = and_(documents.c.id == bindparam("document"), documents.c.state == PENDING)
_TOMBSTONE = and_(documents.c.id == bindparam("document"), documents.c.state == DELETED)

_GET = select(*DOCUMENT_COLUMNS).where(_READY_ONE)
_FIND = select(*DOCUMENT_COLUMNS, documents.c.embedding_model, documents.c.dimensions).where(
    documents.c.id == bindparam("document")
)
_BEGIN_ATTEMPT = update(documents).where(_PENDING_ONE).values(attempt=documents.c.attempt + 1)
_ATTEMPT = select(documents.c.attempt).where(documents.c.id == bindparam("document"))
_NAME_TYPE = update(documents).where(_PENDING_ATTEMPT).values(file_type=bindparam("kind"))
_BURY = (
    update(documents)
    .where(
        documents.c.id == bindparam("document"),
        documents.c.knowledge_base_id == bindparam("shelf"),
        documents.c.owner == bindparam("of"),
        documents.c.state != DELETED,
    )
    .values(state=DELETED)
)
_MARK_READY = update(documents).where(_PENDING_ATTEMPT).values(state=READY)
_MARK_FAILED = update(documents).where(_PENDING_ONE).values(state=FAILED, reason=bindparam("why"))
_CANCEL = _MARK_FAILED.where(documents.c.owner == bindparam("of"))
_FORGET = delete(documents).where(_TOMBSTONE)
_IS_PENDING = select(documents.c.id).where(_PENDING_ATTEMPT).with_for_update(key_share=True)
_POSITIONS = (
    select(chunk_rows.c.position)
    .where(chunk_rows.c.document_id == bindparam("document"))
    .order_by(chunk_rows.c.position)
)
_STORE_VECTOR = (
    update(chunk_rows)
    .where(chunk_rows.c.document_id == bindparam("document"), chunk_rows.c.position == bindparam("place"))
    .values(vector=bindparam("bytes"))
)
_FORGET_STATISTICS = delete(document_statistics).where(document_statistics.c.document_id == bindparam("document"))
_DROP_CONTENTS = (
    delete(document_texts).where(document_texts.c.document_id == bindparam("document")),
    delete(document_blocks).where(document_blocks.c.document_id == bindparam("document")),
    delete(chunk_rows).where(chunk_rows.c.document_id == bindparam("document")),
    _FORGET_STATISTICS,
)
_ALL_PENDING = select(documents.c.id, documents.c.sequence).where(documents.c.state == PENDING)
_LIVING = select(documents.c.id).where(
    documents.c.state.in_((PENDING, READY)), IsMember(documents.c.id, bindparam("documents", type_=Text))
)
_BURY_FAILED = (
    update(documents)
    .where(documents.c.state == FAILED, documents.c.created_at < bindparam("before"))
    .values(state=DELETED)
)
_TOMBSTONES = select(documents.c.id, documents.c.embedding_model, documents.c.dimensions).where(
    documents.c.state == DELETED
)


class SqlDocuments:
    """`Documents` in the table `documents` and those that hang on it."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(
        self, document: Document, text: str = "", chunks: Sequence[Chunk] = (), blocks: Sequence[Block] = ()
    ) -> None:
        space = await self._space(document.owner, document.knowledge_base)
        try:
            await self._transaction.execute(insert(documents), document_values(document, space))
        except Violation as error:  # elsewhere than in SQLite it may have been removed meanwhile
            raise KnowledgeBaseNotFound from error
        await self._add_contents(document.id, text, chunks, blocks)

    async def _add_contents(
        self, document: DocumentId, text: str, chunks: Sequence[Chunk], blocks: Sequence[Block]
    ) -> None:
        await self._transaction.execute_each(insert(document_texts), text_values(document, text))
        await self._transaction.execute_each(insert(document_blocks), block_values(document, blocks))
        await self._transaction.execute_each(insert(chunk_rows), [chunk_values(document, chunk) for chunk in chunks])

    async def _drop_contents(self, document: DocumentId) -> None:
        for step in _DROP_CONTENTS:
            await self._transaction.execute(step, {"document": document})

    async def _space(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> EmbeddingSpace:
        row = (await self._transaction.execute(_SPACE, {"shelf": knowledge_base, "of": owner})).first()
        if row is None:
            raise KnowledgeBaseNotFound
        model, dimensions = row
        return EmbeddingSpace(model=model, dimensions=dimensions)

    async def get(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> Document:
        values = {"document": document, "shelf": knowledge_base, "of": owner}
        row = (await self._transaction.execute(_GET, values)).first()
        if row is None:
            raise DocumentNotFound
        return document_from(row)

    async def find(self, document: DocumentId) -> tuple[Document, EmbeddingSpace] | None:
        row = (await self._transaction.execute(_FIND, {"document": document})).first()
        if row is None:
            return None
        *columns, model, dimensions = row
        return document_from(columns), EmbeddingSpace(model=model, dimensions=dimensions)

    async def begin_attempt(self, document: DocumentId) -> int | None:
        result = await self._transaction.execute(_BEGIN_ATTEMPT, {"document": document})
        if not result.rowcount:
            return None
        attempt: int = (await self._transaction.execute(_ATTEMPT, {"document": document})).scalar_one()
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
        values = {"document": document, "number": attempt, "kind": file_type}
        result = await self._transaction.execute(_NAME_TYPE, values)
        if not result.rowcount:
            return False
        await self._drop_contents(document)  # of an attempt that was cut off
        await self._add_contents(document, text, chunks, blocks)
        return True

    async def store_vectors(
        self, document: DocumentId, attempt: int, vectors: Sequence[bytes], statistics: bytes | None = None
    ) -> None:
        pending = await self._transaction.execute(_IS_PENDING, {"document": document, "number": attempt})
        if pending.first() is None:
            return
        positions = (await self._transaction.execute(_POSITIONS, {"document": document})).scalars().all()
        await self._transaction.execute_each(
            _STORE_VECTOR,
            [
                {"document": document, "place": position, "bytes": vector}
                for position, vector in zip(positions, vectors, strict=True)
            ],
        )
        await self._transaction.execute(_FORGET_STATISTICS, {"document": document})  # of a try that was cut off
        if statistics is not None:
            remembered = {"document_id": document, "statistics": statistics}
            await self._transaction.execute(insert(document_statistics), remembered)

    async def mark_ready(self, document: DocumentId, attempt: int) -> bool:
        result = await self._transaction.execute(_MARK_READY, {"document": document, "number": attempt})
        return result.rowcount > 0

    async def bury(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> None:
        values = {"document": document, "shelf": knowledge_base, "of": owner}
        result = await self._transaction.execute(_BURY, values)
        if not result.rowcount:
            raise DocumentNotFound

    async def mark_failed(self, document: DocumentId, reason: str) -> bool:
        result = await self._transaction.execute(_MARK_FAILED, {"document": document, "why": reason})
        return await self._failed(document, result.rowcount)

    async def cancel(self, owner: UserId, document: DocumentId, reason: str) -> bool:
        result = await self._transaction.execute(_CANCEL, {"of": owner, "document": document, "why": reason})
        return await self._failed(document, result.rowcount)

    async def _failed(self, document: DocumentId, changed: int) -> bool:
        if changed:
            await self._drop_contents(document)
        return changed > 0

    async def pending(self) -> Sequence[DocumentId]:
        found = await self._transaction.execute(_ALL_PENDING)
        return [id_ for id_, _ in sorted(found, key=lambda row: row.sequence)]

    async def living(self, documents: Sequence[DocumentId]) -> set[DocumentId]:
        members = msgspec.json.encode(documents).decode()
        found = await self._transaction.execute(_LIVING, {"documents": members})
        return {DocumentId(id_) for (id_,) in found}

    async def bury_failed(self, *, before: datetime) -> int:
        return (await self._transaction.execute(_BURY_FAILED, {"before": before})).rowcount

    async def tombstones(self) -> Sequence[tuple[DocumentId, EmbeddingSpace]]:
        found = await self._transaction.execute(_TOMBSTONES)
        return [(id_, EmbeddingSpace(model=model, dimensions=dimensions)) for id_, model, dimensions in found]

    async def forget(self, document: DocumentId) -> None:
        await self._transaction.execute(_FORGET, {"document": document})
