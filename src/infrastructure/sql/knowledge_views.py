"""`KnowledgeViews`: knowledge bases, and what an index of them should hold, read straight into what is shown."""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import BigInteger, Integer, Text, and_, bindparam, exists, func, or_, select

from llm_backend.application.ports.views import FindableDocument
from llm_backend.domain.errors import DocumentNotFound, KnowledgeBaseNotFound, ReindexingNotFound
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Chunk,
    DocumentStatus,
    DocumentSummary,
    EmbeddingSpace,
    Excerpt,
    KnowledgeBase,
    StoredChunk,
)
from llm_backend.domain.reindexing import ReindexingStatus
from llm_backend.infrastructure.sql.contents import SqlContents
from llm_backend.infrastructure.sql.dialects import IsMember
from llm_backend.infrastructure.sql.mapping import (
    DOCUMENT_COLUMNS,
    DOCUMENT_SUMMARY_COLUMNS,
    KNOWLEDGE_BASE_COLUMNS,
    STORED_CHUNK_COLUMNS,
    document_from,
    document_summary_from,
    knowledge_base_from,
    stored_chunk_from,
)
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.reindexing_mapping import REINDEXING_COLUMNS, reindexing_from
from llm_backend.infrastructure.sql.rows import (
    DELETED,
    FOUND_ATTEMPT,
    IS_FINDABLE,
    IS_READABLE,
    READY,
    chunks,
    documents,
    embeddings,
    knowledge_bases,
    reindexings,
    vectors,
)
from llm_backend.infrastructure.sql.statements import Query

_OWNER = bindparam("owner", type_=BigInteger)
_SHELF = bindparam("shelf", type_=Text)
_DOCUMENT = bindparam("document", type_=Text)
_LIMIT = bindparam("limit", type_=BigInteger)

_OWNED_SHELF = and_(knowledge_bases.c.id == _SHELF, knowledge_bases.c.owner == _OWNER)
_KNOWLEDGE_BASES = (
    select(*KNOWLEDGE_BASE_COLUMNS).where(knowledge_bases.c.owner == _OWNER).order_by(knowledge_bases.c.sequence)
)
_KNOWLEDGE_BASE = select(*KNOWLEDGE_BASE_COLUMNS).where(_OWNED_SHELF)

_READY_ON_SHELF = and_(documents.c.knowledge_base_id == _SHELF, documents.c.state == READY)
_OWNED_READY_ON_SHELF = and_(_READY_ON_SHELF, documents.c.owner == _OWNER)
_DOCUMENTS = select(*DOCUMENT_SUMMARY_COLUMNS).where(_OWNED_READY_ON_SHELF).order_by(documents.c.sequence)
_CHUNKS_OF = select(func.count()).where(chunks.c.document_id == documents.c.id).scalar_subquery()
_DOCUMENT_STATUS = select(*DOCUMENT_COLUMNS, _CHUNKS_OF).where(
    documents.c.id == _DOCUMENT, documents.c.owner == _OWNER, documents.c.state != DELETED
)
_FINDABLE = select(documents.c.id, documents.c.name, FOUND_ATTEMPT, documents.c.state != READY).where(
    documents.c.knowledge_base_id == _SHELF,
    documents.c.owner == _OWNER,
    IS_FINDABLE,
    IsMember(documents.c.id, bindparam("documents", type_=Text)),
)
# Sequences are given once, so their number and sum change whenever their set does, but for rare coincidences.
_STAMP = select(
    func.count(), func.coalesce(func.max(documents.c.sequence), 0), func.coalesce(func.sum(documents.c.sequence), 0)
).where(_READY_ON_SHELF)
_OF_SPACE = and_(
    embeddings.c.embedding_model == bindparam("model", type_=Text),
    embeddings.c.dimensions == bindparam("dimensions", type_=Integer),
)
_IN_SPACE = and_(_OF_SPACE, embeddings.c.complete)
# What an index of that space should hold. What is readable is so in the space of its knowledge base alone.
_HAS_OWN_SPACE = exists().where(
    knowledge_bases.c.id == documents.c.knowledge_base_id,
    knowledge_bases.c.embedding_model == embeddings.c.embedding_model,
    knowledge_bases.c.dimensions == embeddings.c.dimensions,
)
_IS_INDEXED = and_(
    _OF_SPACE,
    or_(and_(documents.c.state == READY, embeddings.c.complete), and_(IS_READABLE, _HAS_OWN_SPACE)),
)
_STATISTICS = (
    select(embeddings.c.statistics)
    .join(documents, documents.c.id == embeddings.c.document_id)
    .where(_READY_ON_SHELF, _IN_SPACE, embeddings.c.statistics.is_not(None))
    .order_by(documents.c.sequence.desc())
    .limit(_LIMIT)
)
_OF_SHELVES = select(knowledge_bases.c.embedding_model, knowledge_bases.c.dimensions).distinct()
_OF_DOCUMENTS = select(embeddings.c.embedding_model, embeddings.c.dimensions).where(embeddings.c.complete).distinct()
_VECTOR = and_(
    embeddings.c.complete,  # of a large document there may be some meanwhile
    vectors.c.document_id == chunks.c.document_id,
    vectors.c.position == chunks.c.position,
    vectors.c.embedding_model == embeddings.c.embedding_model,
    vectors.c.dimensions == embeddings.c.dimensions,
)
_CHUNKS = (
    select(*STORED_CHUNK_COLUMNS)
    .select_from(
        documents.join(embeddings, embeddings.c.document_id == documents.c.id)
        .join(chunks, chunks.c.document_id == documents.c.id)
        .join(vectors, _VECTOR, isouter=True)
    )
    .where(_IS_INDEXED)
    .order_by(embeddings.c.document_id, chunks.c.position)
    .limit(_LIMIT)
)
_CHUNK_COUNTS = (
    select(documents.c.id, FOUND_ATTEMPT, func.count())
    .join(chunks, chunks.c.document_id == documents.c.id)
    .join(embeddings, embeddings.c.document_id == documents.c.id)
    .where(_IS_INDEXED)
    .group_by(documents.c.id, FOUND_ATTEMPT)
)
# The first condition is what an index can begin at; the second leaves out the rest of the last page.
_CHUNKS_AFTER = _CHUNKS.where(
    embeddings.c.document_id >= _DOCUMENT,
    or_(embeddings.c.document_id > _DOCUMENT, chunks.c.position > bindparam("position", type_=Integer)),
)
_CHUNKS_OF_DOCUMENT = (
    select(*STORED_CHUNK_COLUMNS[:-1])
    .join(documents, documents.c.id == chunks.c.document_id)
    .where(documents.c.id == _DOCUMENT, documents.c.state == READY)
    .order_by(chunks.c.position)
)
_REINDEXING = (
    select(*REINDEXING_COLUMNS)
    .join(knowledge_bases, knowledge_bases.c.id == reindexings.c.knowledge_base_id)
    .where(_OWNED_SHELF)
    .order_by(reindexings.c.sequence.desc())
    .limit(1)
)
_CHUNKS_ON_SHELF = select(func.count()).join_from(chunks, documents).where(_READY_ON_SHELF)
_EMBEDDED_ON_SHELF = _CHUNKS_ON_SHELF.join(embeddings, embeddings.c.document_id == documents.c.id).where(_IN_SPACE)


class SqlKnowledgeViews:
    """`KnowledgeViews`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._knowledge_bases = reader.prepare(_KNOWLEDGE_BASES)
        self._knowledge_base = reader.prepare(_KNOWLEDGE_BASE)
        self._documents = reader.prepare(_DOCUMENTS)
        self._document_status = reader.prepare(_DOCUMENT_STATUS)
        self._findable = reader.prepare(_FINDABLE)
        self._contents = SqlContents(reader)
        self._stamp = reader.prepare(_STAMP)
        self._statistics = reader.prepare(_STATISTICS)
        self._of_shelves = reader.prepare(_OF_SHELVES)
        self._of_documents = reader.prepare(_OF_DOCUMENTS)
        self._chunk_counts = reader.prepare(_CHUNK_COUNTS)
        self._chunks = reader.prepare(_CHUNKS)
        self._chunks_after = reader.prepare(_CHUNKS_AFTER)
        self._chunks_of_document = reader.prepare(_CHUNKS_OF_DOCUMENT)
        self._reindexing = reader.prepare(_REINDEXING)
        self._chunks_on_shelf = reader.prepare(_CHUNKS_ON_SHELF)
        self._embedded_on_shelf = reader.prepare(_EMBEDDED_ON_SHELF)

    async def knowledge_bases(self, owner: UserId) -> Sequence[KnowledgeBase]:
        (found,) = await self._reader.fetch(Query(self._knowledge_bases, {"owner": owner}))
        return list(map(knowledge_base_from, found))

    async def knowledge_base(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> KnowledgeBase:
        (found,) = await self._reader.fetch(Query(self._knowledge_base, {"owner": owner, "shelf": knowledge_base}))
        if not found:
            raise KnowledgeBaseNotFound
        return knowledge_base_from(found[0])

    async def documents(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> Sequence[DocumentSummary]:
        values = {"owner": owner, "shelf": knowledge_base}
        shelf, found = await self._reader.fetch(Query(self._knowledge_base, values), Query(self._documents, values))
        if not shelf:
            raise KnowledgeBaseNotFound
        return list(map(document_summary_from, found))

    async def document(self, owner: UserId, document: DocumentId) -> DocumentStatus:
        (found,) = await self._reader.fetch(Query(self._document_status, {"owner": owner, "document": document}))
        if not found:
            raise DocumentNotFound
        *columns, number = found[0]
        return DocumentStatus.at_rest(document_from(columns), number)

    async def findable(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentId]
    ) -> Mapping[DocumentId, FindableDocument]:
        if not documents:
            return {}
        members = msgspec.json.encode(documents).decode()
        values = {"owner": owner, "shelf": knowledge_base, "documents": members}
        (found,) = await self._reader.fetch(Query(self._findable, values))
        return {
            id_: FindableDocument(name=name, attempt=attempt, by_words_alone=bool(pending))
            for id_, name, attempt, pending in found
        }

    async def quotation(self, owner: UserId, document: DocumentId, start: int, end: int) -> str | None:
        return await self._contents.quotation(owner, document, start, end)

    async def excerpt(self, owner: UserId, document: DocumentId, start: int, end: int) -> Excerpt:
        return await self._contents.excerpt(owner, document, start, end)

    async def document_chunks(
        self, owner: UserId, document: DocumentId, *, after: int = -1, limit: int
    ) -> Sequence[Chunk]:
        return await self._contents.chunks(owner, document, after=after, limit=limit)

    async def statistics_stamp(self, knowledge_base: KnowledgeBaseId) -> str:
        (found,) = await self._reader.fetch(Query(self._stamp, {"shelf": knowledge_base}))
        return "-".join(map(str, found[0]))

    async def statistics(
        self, knowledge_base: KnowledgeBaseId, space: EmbeddingSpace, *, limit: int = 200
    ) -> Sequence[bytes]:
        values = {"shelf": knowledge_base, **_in_space(space), "limit": limit}
        (found,) = await self._reader.fetch(Query(self._statistics, values))
        return [statistics for (statistics,) in found]

    async def spaces(self) -> Sequence[EmbeddingSpace]:
        found = await self._reader.fetch(Query(self._of_shelves), Query(self._of_documents))
        return [
            EmbeddingSpace(model=model, dimensions=dimensions)
            for model, dimensions in dict.fromkeys(row for rows in found for row in map(tuple, rows))
        ]

    async def chunk_counts(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        (found,) = await self._reader.fetch(Query(self._chunk_counts, _in_space(space)))
        return {(document, attempt): count for document, attempt, count in found}

    async def chunks(
        self, space: EmbeddingSpace, *, after: tuple[DocumentId, int] | None = None, limit: int = 1000
    ) -> Sequence[StoredChunk]:
        values: dict[str, object] = {**_in_space(space), "limit": limit}
        statement = self._chunks
        if after is not None:
            statement = self._chunks_after
            values["document"], values["position"] = after
        (found,) = await self._reader.fetch(Query(statement, values))
        return list(map(stored_chunk_from, found))

    async def chunks_of(self, document: DocumentId) -> Sequence[StoredChunk]:
        (found,) = await self._reader.fetch(Query(self._chunks_of_document, {"document": document}))
        return [stored_chunk_from((*row, None)) for row in found]

    async def reindexing(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> ReindexingStatus:
        values = {"owner": owner, "shelf": knowledge_base}
        shelf, rows = await self._reader.fetch(Query(self._knowledge_base, values), Query(self._reindexing, values))
        if not shelf:
            raise KnowledgeBaseNotFound
        if not rows:
            raise ReindexingNotFound
        found = reindexing_from(rows[0])
        values |= _in_space(found.target)
        every, embedded = await self._reader.fetch(
            Query(self._chunks_on_shelf, values), Query(self._embedded_on_shelf, values)
        )
        return ReindexingStatus(reindexing=found, chunks=every[0][0], embedded=embedded[0][0])


def _in_space(space: EmbeddingSpace) -> dict[str, object]:
    return {"model": space.model, "dimensions": space.dimensions}
