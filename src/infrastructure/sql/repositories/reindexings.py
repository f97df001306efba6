"""Moves of knowledge bases from one embedding space to another, and the vectors that nobody wants after them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Text, and_, bindparam, delete, exists, false, insert, null, or_, select, update

from llm_backend.domain.errors import EmbeddingModelInUse, KnowledgeBaseNotFound, ReindexingInProgress
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, ReindexingId, UserId
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.domain.reindexing import Reindexing, ReindexingState
from llm_backend.infrastructure.sql.dialects import UtcTime
from llm_backend.infrastructure.sql.reindexing_mapping import REINDEXING_COLUMNS, reindexing_from, reindexing_values
from llm_backend.infrastructure.sql.repositories.documents import IS_LACKING
from llm_backend.infrastructure.sql.rows import (
    DELETED,
    PENDING,
    RUNNING,
    documents,
    embeddings,
    knowledge_bases,
    reindexings,
)
from llm_backend.infrastructure.sql.transaction import Transaction

_SHELF = bindparam("shelf", type_=Text)
_OWNED = and_(knowledge_bases.c.id == _SHELF, knowledge_bases.c.owner == bindparam("owner"))
_AT = bindparam("at", type_=UtcTime)
_KEPT_SINCE = bindparam("kept_since", type_=UtcTime)

# Held until the end: whoever makes a document ready in the meantime waits, and sees the new space.
_HOLD_OWNED = select(knowledge_bases.c.embedding_model, knowledge_bases.c.dimensions).where(_OWNED).with_for_update()
_HOLD = select(knowledge_bases.c.id).where(knowledge_bases.c.id == _SHELF).with_for_update()
_RUNNING = select(*REINDEXING_COLUMNS).where(reindexings.c.knowledge_base_id == _SHELF, reindexings.c.state == RUNNING)
_RUNNING_ONE = and_(reindexings.c.id == bindparam("reindexing"), reindexings.c.state == RUNNING)
_FIND_RUNNING = select(*REINDEXING_COLUMNS).where(_RUNNING_ONE)
_END = update(reindexings).where(_RUNNING_ONE).values(state=bindparam("outcome"), reason=bindparam("why"), ended_at=_AT)
_CANCEL = (
    update(reindexings)
    .where(reindexings.c.knowledge_base_id == _SHELF, reindexings.c.state == RUNNING, exists().where(_OWNED))
    .values(state=ReindexingState.CANCELLED.value, ended_at=_AT)
)
_PREVIOUS = (
    select(reindexings.c.source_model, reindexings.c.source_dimensions)
    .join(knowledge_bases, knowledge_bases.c.id == reindexings.c.knowledge_base_id)
    .where(
        _OWNED,
        reindexings.c.state == ReindexingState.DONE.value,
        reindexings.c.target_model == knowledge_bases.c.embedding_model,
        reindexings.c.target_dimensions == knowledge_bases.c.dimensions,
        reindexings.c.ended_at >= _KEPT_SINCE,
    )
    .order_by(reindexings.c.sequence.desc())
    .limit(1)
)
_IS_INCOMPLETE = select(documents.c.id).where(IS_LACKING).limit(1)
_SWITCH = (
    update(knowledge_bases)
    .where(knowledge_bases.c.id == _SHELF)
    .values(embedding_model=bindparam("model"), dimensions=bindparam("size"))
)
# The index of another space has nothing of them.
_UNREAD = (
    update(documents)
    .where(
        documents.c.knowledge_base_id == _SHELF,
        documents.c.state == PENDING,
        documents.c.readable_attempt.is_not(None),
    )
    .values(readable_attempt=null())
)

_IS_SOURCE = and_(
    reindexings.c.source_model == embeddings.c.embedding_model,
    reindexings.c.source_dimensions == embeddings.c.dimensions,
)
_IS_TARGET = and_(
    reindexings.c.target_model == embeddings.c.embedding_model,
    reindexings.c.target_dimensions == embeddings.c.dimensions,
)
_IS_KEPT = (
    exists()
    .where(
        reindexings.c.knowledge_base_id == knowledge_bases.c.id,
        or_(
            and_(reindexings.c.state == RUNNING, _IS_TARGET),
            and_(
                reindexings.c.ended_at >= _KEPT_SINCE,
                or_(
                    and_(reindexings.c.state == ReindexingState.DONE.value, _IS_SOURCE),
                    and_(reindexings.c.state == ReindexingState.FAILED.value, _IS_TARGET),
                ),
            ),
        ),
    )
    .correlate(knowledge_bases, embeddings)
)
_IS_UNWANTED = and_(
    documents.c.id == embeddings.c.document_id,
    documents.c.state != DELETED,
    knowledge_bases.c.id == documents.c.knowledge_base_id,
    or_(
        embeddings.c.embedding_model != knowledge_bases.c.embedding_model,
        embeddings.c.dimensions != knowledge_bases.c.dimensions,
    ),
    ~_IS_KEPT,
)
_EMBEDDING = (embeddings.c.document_id, embeddings.c.embedding_model, embeddings.c.dimensions)
_UNWANTED = select(*_EMBEDDING).select_from(embeddings, documents, knowledge_bases).where(_IS_UNWANTED)
_UNWANTED_OF_SHELF = _UNWANTED.where(knowledge_bases.c.id == _SHELF)
_ON_SHELF = select(documents.c.id).where(documents.c.knowledge_base_id == _SHELF)
_WITHDRAW = (
    update(embeddings)
    .where(
        embeddings.c.document_id.in_(_ON_SHELF),
        exists().where(_IS_UNWANTED, knowledge_bases.c.id == _SHELF).correlate(embeddings),
    )
    .values(complete=false())
)
_UNSETTLED = (
    select(knowledge_bases.c.id)
    .select_from(embeddings, documents, knowledge_bases)
    .where(_IS_UNWANTED)
    .union(select(reindexings.c.knowledge_base_id).where(reindexings.c.state == RUNNING))
)
_DROP = delete(embeddings).where(
    embeddings.c.document_id == bindparam("document"),
    embeddings.c.embedding_model == bindparam("model"),
    embeddings.c.dimensions == bindparam("size"),
    ~embeddings.c.complete,
)
_FORGET = delete(reindexings).where(reindexings.c.state != RUNNING, reindexings.c.ended_at < _AT)


class SqlReindexings:
    """`Reindexings` in the table `reindexings`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def start(self, owner: UserId, reindexing: Reindexing) -> None:
        shelf = {"shelf": reindexing.knowledge_base, "owner": owner}
        row = (await self._transaction.execute(_HOLD_OWNED, shelf)).first()
        if row is None:
            raise KnowledgeBaseNotFound
        if await self.running(reindexing.knowledge_base):
            raise ReindexingInProgress
        if EmbeddingSpace(model=row[0], dimensions=row[1]) != reindexing.source:
            raise EmbeddingModelInUse
        await self._transaction.execute(insert(reindexings), reindexing_values(reindexing))

    async def running(self, knowledge_base: KnowledgeBaseId) -> Reindexing | None:
        row = (await self._transaction.execute(_RUNNING, {"shelf": knowledge_base})).first()
        return reindexing_from(row) if row else None

    async def previous(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, *, kept_since: datetime
    ) -> EmbeddingSpace | None:
        values = {"shelf": knowledge_base, "owner": owner, "kept_since": kept_since}
        row = (await self._transaction.execute(_PREVIOUS, values)).first()
        return EmbeddingSpace(model=row[0], dimensions=row[1]) if row else None

    async def finish(self, reindexing: ReindexingId, *, at: datetime) -> bool:
        row = (await self._transaction.execute(_FIND_RUNNING, {"reindexing": reindexing})).first()
        if row is None:
            return False
        found = reindexing_from(row)
        place = {
            "shelf": found.knowledge_base,
            "model": found.target.model,
            "size": found.target.dimensions,
        }
        await self._transaction.execute(_HOLD, place)
        if (await self._transaction.execute(_IS_INCOMPLETE, place)).first():
            return False
        if not await self._end(reindexing, ReindexingState.DONE, None, at):
            return False
        await self._transaction.execute(_SWITCH, place)
        await self._transaction.execute(_UNREAD, place)
        return True

    async def fail(self, reindexing: ReindexingId, reason: str, *, at: datetime) -> bool:
        return await self._end(reindexing, ReindexingState.FAILED, reason, at)

    async def cancel(self, owner: UserId, knowledge_base: KnowledgeBaseId, *, at: datetime) -> bool:
        values = {"shelf": knowledge_base, "owner": owner, "at": at}
        return (await self._transaction.execute(_CANCEL, values)).rowcount > 0

    async def unsettled(self, *, kept_since: datetime) -> Sequence[KnowledgeBaseId]:
        return list((await self._transaction.execute(_UNSETTLED, {"kept_since": kept_since})).scalars())

    async def withdraw_unwanted(
        self, knowledge_base: KnowledgeBaseId, *, kept_since: datetime
    ) -> Sequence[tuple[DocumentId, EmbeddingSpace]]:
        values = {"shelf": knowledge_base, "kept_since": kept_since}
        await self._transaction.execute(_WITHDRAW, values)
        found = await self._transaction.execute(_UNWANTED_OF_SHELF, values)
        return [(id_, EmbeddingSpace(model=model, dimensions=dimensions)) for id_, model, dimensions in found]

    async def drop(self, withdrawn: Sequence[tuple[DocumentId, EmbeddingSpace]]) -> None:
        await self._transaction.execute_each(
            _DROP, [{"document": id_, "model": space.model, "size": space.dimensions} for id_, space in withdrawn]
        )

    async def forget_before(self, moment: datetime) -> int:
        return (await self._transaction.execute(_FORGET, {"at": moment})).rowcount

    async def _end(self, reindexing: ReindexingId, state: ReindexingState, reason: str | None, at: datetime) -> bool:
        values = {"reindexing": reindexing, "outcome": state.value, "why": reason, "at": at}
        return (await self._transaction.execute(_END, values)).rowcount > 0
