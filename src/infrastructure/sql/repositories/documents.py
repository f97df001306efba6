"""Documents with their texts, chunks and vectors, from pending to forgotten."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Integer, Text, and_, bindparam, delete, exists, false, insert, select, update

from llm_backend.domain.errors import DocumentNotFound, KnowledgeBaseNotFound
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Block, Chunk, Document, EmbeddingSpace
from llm_backend.infrastructure.codec.stored import attributes_value
from llm_backend.infrastructure.sql.deleted_places import note_documents
from llm_backend.infrastructure.sql.dialects import IsMember, upsert
from llm_backend.infrastructure.sql.errors import Violation
from llm_backend.infrastructure.sql.mapping import DOCUMENT_COLUMNS, document_from, document_values
from llm_backend.infrastructure.sql.repositories.document_contents import (
    FIRST,
    MOST,
    VECTORS_IN_SPACE,
    add_contents,
    replace_contents,
    replace_vectors,
)
from llm_backend.infrastructure.sql.repositories.document_states import (
    COMPLETE,
    EMBEDDING_KEY,
    ENTER_OWN_SPACE,
    HOLD_SPACE,
    IN_SPACE,
    PENDING_ATTEMPT,
    begun,
    cancelled,
    failed,
    made_readable,
    made_ready,
)
from llm_backend.infrastructure.sql.rows import (
    DELETED,
    FAILED,
    PENDING,
    READY,
    documents,
    embeddings,
    knowledge_bases,
    vectors,
)
from llm_backend.infrastructure.sql.together import Statements
from llm_backend.infrastructure.sql.transaction import Transaction

_SHELF = select(knowledge_bases.c.id).where(
    knowledge_bases.c.id == bindparam("shelf"), knowledge_bases.c.owner == bindparam("of")
)
_TURN = _SHELF.with_for_update(key_share=True)  # SQLite has one writer at a time anyway
_PRESENT = and_(
    documents.c.knowledge_base_id == bindparam("shelf"),
    documents.c.owner == bindparam("of"),
    documents.c.state.in_([PENDING, READY]),
)
_ALIKE = (
    select(*DOCUMENT_COLUMNS).where(_PRESENT, documents.c.name == bindparam("called")).order_by(documents.c.sequence)
)
_DESCRIBE = (
    update(documents)
    .where(
        documents.c.id == bindparam("document"),
        documents.c.owner == bindparam("of"),
        documents.c.state.in_([PENDING, READY]),
    )
    .values(attributes=bindparam("facts"))
)
_newer = documents.alias("newer")
_IS_REPLACED = and_(
    documents.c.state.in_([PENDING, READY]),
    exists().where(
        _newer.c.id == bindparam("document"),
        _newer.c.knowledge_base_id == documents.c.knowledge_base_id,
        _newer.c.name == documents.c.name,
        _newer.c.sequence > documents.c.sequence,
    ),
)
_REPLACED = select(documents.c.id).where(_IS_REPLACED)
_NOTE_REPLACED = note_documents(_IS_REPLACED)
_BURY_REPLACED = update(documents).where(_IS_REPLACED).values(state=DELETED)
_READY_ONE = and_(
    documents.c.id == bindparam("document"),
    documents.c.knowledge_base_id == bindparam("shelf"),
    documents.c.owner == bindparam("of"),
    documents.c.state == READY,
)
_TOMBSTONE = and_(documents.c.id == bindparam("document"), documents.c.state == DELETED)

_GET = select(*DOCUMENT_COLUMNS).where(_READY_ONE)
_FIND = (
    select(*DOCUMENT_COLUMNS, knowledge_bases.c.embedding_model, knowledge_bases.c.dimensions)
    .join(knowledge_bases, knowledge_bases.c.id == documents.c.knowledge_base_id, isouter=True)
    .where(documents.c.id == bindparam("document"))
)
_SPACES_OF = select(embeddings.c.document_id, embeddings.c.embedding_model, embeddings.c.dimensions).where(
    IsMember(embeddings.c.document_id, bindparam("documents"))
)
_ENTER_SPACE = (
    upsert(embeddings)
    .from_select(
        [*EMBEDDING_KEY, "complete"],
        select(documents.c.id, bindparam("model", type_=Text), bindparam("size", type_=Integer), false()).where(
            documents.c.state == READY, IsMember(documents.c.id, bindparam("documents"))
        ),
    )
    .on_conflict_do_nothing(index_elements=EMBEDDING_KEY)
)
_ENTERED = select(embeddings.c.document_id).where(
    IsMember(embeddings.c.document_id, bindparam("documents", type_=Text)),
    embeddings.c.embedding_model == bindparam("model"),
    embeddings.c.dimensions == bindparam("size"),
)
_MARK_EMBEDDED = COMPLETE.where(
    exists().where(
        documents.c.id == bindparam("document"),
        documents.c.attempt == bindparam("number"),
        documents.c.state == READY,
    )
)
IS_LACKING = and_(
    documents.c.knowledge_base_id == bindparam("shelf"),
    documents.c.state == READY,
    ~exists().where(
        embeddings.c.document_id == documents.c.id,
        embeddings.c.embedding_model == bindparam("model"),
        embeddings.c.dimensions == bindparam("size"),
        embeddings.c.complete,
    ),
)
_LACKING = (
    select(documents.c.id, documents.c.attempt)
    .where(IS_LACKING)
    .order_by(documents.c.sequence)
    .limit(bindparam("most"))
)
_ADD = insert(documents)
_NAME_TYPE = update(documents).where(PENDING_ATTEMPT).values(file_type=bindparam("kind"))
_SEEN_ONE = and_(
    documents.c.id == bindparam("document"),
    documents.c.knowledge_base_id == bindparam("shelf"),
    documents.c.owner == bindparam("of"),
    documents.c.state != DELETED,
)
_NOTE = note_documents(_SEEN_ONE)
_BURY = update(documents).where(_SEEN_ONE).values(state=DELETED)
_FORGET = delete(documents).where(_TOMBSTONE)
_CURRENT = select(documents.c.id).where(
    documents.c.id == bindparam("document"),
    documents.c.attempt == bindparam("number"),
    documents.c.state.in_((PENDING, READY)),
)
_IS_CURRENT = _CURRENT.with_for_update(key_share=True)
_VECTORS = (
    select(vectors.c.vector)
    .where(VECTORS_IN_SPACE, _CURRENT.exists())
    .order_by(vectors.c.position)
    .offset(FIRST)
    .limit(MOST)
)
_REMEMBER = update(embeddings).where(IN_SPACE).values(statistics=bindparam("remembered"))
_ALL_PENDING = select(documents.c.id, documents.c.sequence).where(documents.c.state == PENDING)
_LIVING = select(documents.c.id).where(
    documents.c.state.in_((PENDING, READY)), IsMember(documents.c.id, bindparam("documents", type_=Text))
)
_FAILED_LONG_AGO = and_(documents.c.state == FAILED, documents.c.created_at < bindparam("before"))
_NOTE_FAILED = note_documents(_FAILED_LONG_AGO)
_BURY_FAILED = update(documents).where(_FAILED_LONG_AGO).values(state=DELETED)
_TOMBSTONES = select(documents.c.id).where(documents.c.state == DELETED)


class SqlDocuments:
    """`Documents` in the table `documents` and those that hang on it."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(
        self, document: Document, text: str = "", chunks: Sequence[Chunk] = (), blocks: Sequence[Block] = ()
    ) -> None:
        def add(statements: Statements) -> None:
            shelf = {"shelf": document.knowledge_base, "of": document.owner}
            if not statements.execute(_SHELF, shelf).rows:
                raise KnowledgeBaseNotFound
            statements.execute(_ADD, document_values(document))
            statements.execute(ENTER_OWN_SPACE, {"document": document.id})
            add_contents(statements, document.id, text, chunks, blocks)

        try:
            await self._transaction.together(add)
        except Violation as error:  # elsewhere than in SQLite it may have been removed meanwhile
            raise KnowledgeBaseNotFound from error

    async def alike(self, owner: UserId, knowledge_base: KnowledgeBaseId, name: str) -> Sequence[Document]:
        values = {"shelf": knowledge_base, "of": owner, "called": name}

        def look(statements: Statements) -> list[Document]:
            if not statements.execute(_TURN, values).rows:
                raise KnowledgeBaseNotFound
            return list(map(document_from, statements.execute(_ALIKE, values).rows))

        return await self._transaction.together(look)

    async def describe(self, owner: UserId, document: DocumentId, attributes: Attributes) -> None:
        values = {"document": document, "of": owner, "facts": attributes_value(attributes)}
        if not (await self._transaction.execute(_DESCRIBE, values)).rowcount:
            raise DocumentNotFound

    async def bury_replaced(self, document: DocumentId) -> Sequence[DocumentId]:
        found = (await self._transaction.execute(_REPLACED, {"document": document})).scalars().all()
        if found:
            await self._transaction.execute(_NOTE_REPLACED, {"document": document})
            await self._transaction.execute(_BURY_REPLACED, {"document": document})
        return list(map(DocumentId, found))

    async def get(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> Document:
        values = {"document": document, "shelf": knowledge_base, "of": owner}
        row = (await self._transaction.execute(_GET, values)).first()
        if row is None:
            raise DocumentNotFound
        return document_from(row)

    async def find(self, document: DocumentId) -> tuple[Document, EmbeddingSpace | None] | None:
        found = await self._transaction.together(lambda statements: statements.execute(_FIND, {"document": document}))
        if not found.rows:
            return None
        (row,) = found.rows
        *columns, model, dimensions = row
        return document_from(columns), EmbeddingSpace(model=model, dimensions=dimensions) if model else None

    async def spaces_of(self, documents: Sequence[DocumentId]) -> Mapping[EmbeddingSpace, Sequence[DocumentId]]:
        by_space: dict[EmbeddingSpace, list[DocumentId]] = defaultdict(list)
        for id_, model, dimensions in await self._transaction.execute(_SPACES_OF, {"documents": _members(documents)}):
            by_space[EmbeddingSpace(model=model, dimensions=dimensions)].append(id_)
        return by_space

    async def begin_attempt(self, document: DocumentId) -> int | None:
        return await self._transaction.together(lambda statements: begun(statements, document))

    async def store_contents(
        self,
        document: DocumentId,
        attempt: int,
        file_type: str,
        text: str,
        chunks: Sequence[Chunk],
        blocks: Sequence[Block] = (),
    ) -> bool:
        def store(statements: Statements) -> bool:
            statements.execute(HOLD_SPACE, {"document": document})
            named = statements.execute(_NAME_TYPE, {"document": document, "number": attempt, "kind": file_type})
            if not named.changed:
                return False
            replace_contents(statements, document, text, chunks, blocks)
            return True

        return await self._transaction.together(store)

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
        def store(statements: Statements) -> bool:
            statements.execute(HOLD_SPACE, {"document": document})
            current = statements.execute(_IS_CURRENT, {"document": document, "number": attempt}).rows
            remembered = {**_place(document, space), "remembered": statistics}
            if not current or not statements.execute(_REMEMBER, remembered).changed:
                return False
            replace_vectors(statements, document, space, vectors, first)
            return True

        return await self._transaction.together(store)

    async def vectors(
        self, document: DocumentId, attempt: int, space: EmbeddingSpace, *, first: int, limit: int
    ) -> Sequence[bytes]:
        values = {**_place(document, space), "number": attempt, "first": first, "most": limit}
        return list((await self._transaction.execute(_VECTORS, values)).scalars())

    async def mark_readable(self, document: DocumentId, attempt: int, space: EmbeddingSpace) -> int | None:
        return await self._transaction.together(lambda statements: made_readable(statements, document, attempt, space))

    async def mark_ready(self, document: DocumentId, attempt: int) -> bool:
        return await self._transaction.together(lambda statements: made_ready(statements, document, attempt))

    async def lacking(
        self, knowledge_base: KnowledgeBaseId, space: EmbeddingSpace, *, limit: int
    ) -> Sequence[tuple[DocumentId, int]]:
        values = {"shelf": knowledge_base, "model": space.model, "size": space.dimensions, "most": limit}
        return [(id_, attempt) for id_, attempt in await self._transaction.execute(_LACKING, values)]

    async def begin_embedding(self, documents: Sequence[DocumentId], space: EmbeddingSpace) -> set[DocumentId]:
        values = {"documents": _members(documents), "model": space.model, "size": space.dimensions}

        def enter(statements: Statements) -> set[DocumentId]:
            before = {DocumentId(document) for (document,) in statements.execute(_ENTERED, values).rows}
            statements.execute(_ENTER_SPACE, values)
            return before

        return await self._transaction.together(enter)

    async def mark_embedded(self, document: DocumentId, attempt: int, space: EmbeddingSpace) -> bool:
        values = {**_place(document, space), "number": attempt}
        return (await self._transaction.execute(_MARK_EMBEDDED, values)).rowcount > 0

    async def bury(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> None:
        values = {"document": document, "shelf": knowledge_base, "of": owner}

        def bury(statements: Statements) -> int:
            statements.execute(_NOTE, values)
            return statements.execute(_BURY, values).changed

        if not await self._transaction.together(bury):
            raise DocumentNotFound

    async def mark_failed(self, document: DocumentId, reason: str) -> bool:
        return await self._transaction.together(lambda statements: failed(statements, document, reason))

    async def cancel(self, owner: UserId, document: DocumentId, reason: str) -> bool:
        return await self._transaction.together(lambda statements: cancelled(statements, owner, document, reason))

    async def pending(self) -> Sequence[DocumentId]:
        found = await self._transaction.execute(_ALL_PENDING)
        return [id_ for id_, _ in sorted(found, key=lambda row: row.sequence)]

    async def living(self, documents: Sequence[DocumentId]) -> set[DocumentId]:
        members = msgspec.json.encode(documents).decode()
        found = await self._transaction.execute(_LIVING, {"documents": members})
        return {DocumentId(id_) for (id_,) in found}

    async def bury_failed(self, *, before: datetime) -> int:
        await self._transaction.execute(_NOTE_FAILED, {"before": before})
        return (await self._transaction.execute(_BURY_FAILED, {"before": before})).rowcount

    async def tombstones(self) -> Sequence[DocumentId]:
        return list((await self._transaction.execute(_TOMBSTONES)).scalars())

    async def forget(self, document: DocumentId) -> None:
        await self._transaction.execute(_FORGET, {"document": document})


def _place(document: DocumentId, space: EmbeddingSpace) -> dict[str, object]:
    return {"document": document, "model": space.model, "size": space.dimensions}


def _members(documents: Sequence[DocumentId]) -> str:
    return msgspec.json.encode(documents).decode()
