"""What is noted down about knowledge bases as vector stores."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, insert, select, update

from llm_backend.domain.errors import FileBatchNotFound, KnowledgeBaseNotFound
from llm_backend.domain.ids import DocumentId, FileBatchId, KnowledgeBaseId, UserId
from llm_backend.domain.vector_stores import FileBatch, StoreSettings
from llm_backend.infrastructure.sql.files_mapping import (
    SETTINGS_COLUMNS,
    batch_values,
    settings_from,
    settings_values,
)
from llm_backend.infrastructure.sql.rows import file_batch_documents, file_batches, knowledge_bases, vector_stores
from llm_backend.infrastructure.sql.transaction import Transaction

# Held until the end, so that it is not removed meanwhile, and nobody else configures it: SQLite lets nobody anyway.
_HOLD = (
    select(knowledge_bases.c.id)
    .where(knowledge_bases.c.id == bindparam("shelf"), knowledge_bases.c.owner == bindparam("of"))
    .with_for_update()
)
_FORGET = delete(vector_stores).where(vector_stores.c.knowledge_base_id == bindparam("shelf"))
_TOUCH = (
    update(vector_stores)
    .where(vector_stores.c.knowledge_base_id == bindparam("shelf"))
    .values(last_active_at=bindparam("at"))
)
_EXPIRING = (
    select(knowledge_bases.c.owner, knowledge_bases.c.id, *SETTINGS_COLUMNS)
    .join(vector_stores, vector_stores.c.knowledge_base_id == knowledge_bases.c.id)
    .where(vector_stores.c.expires_after.is_not(None))
)
_CANCEL = (
    update(file_batches)
    .where(
        and_(
            file_batches.c.id == bindparam("batch"),
            file_batches.c.owner == bindparam("of"),
            file_batches.c.knowledge_base_id == bindparam("shelf"),
        )
    )
    .values(is_cancelled=True)
)


class SqlVectorStores:
    """`VectorStores` in the tables `vector_stores` and `file_batches`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def configure(self, owner: UserId, knowledge_base: KnowledgeBaseId, settings: StoreSettings) -> None:
        await self._hold(owner, knowledge_base)
        await self._transaction.execute(_FORGET, {"shelf": knowledge_base})
        values = {"knowledge_base_id": knowledge_base, **settings_values(settings)}
        await self._transaction.execute(insert(vector_stores), values)

    async def touch(self, knowledge_base: KnowledgeBaseId, at: datetime) -> None:
        await self._transaction.execute(_TOUCH, {"shelf": knowledge_base, "at": at})

    async def expiring(self) -> Sequence[tuple[UserId, KnowledgeBaseId, StoreSettings]]:
        found = await self._transaction.execute(_EXPIRING)
        return [(UserId(owner), KnowledgeBaseId(id_), settings_from(settings)) for owner, id_, *settings in found]

    async def add_batch(self, batch: FileBatch, documents: Sequence[DocumentId]) -> None:
        await self._hold(batch.owner, batch.knowledge_base)
        await self._transaction.execute(insert(file_batches), batch_values(batch))
        members = [{"batch_id": batch.id, "document_id": document} for document in documents]
        await self._transaction.execute_each(insert(file_batch_documents), members)

    async def cancel_batch(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> None:
        values = {"batch": batch, "of": owner, "shelf": knowledge_base}
        if not (await self._transaction.execute(_CANCEL, values)).rowcount:
            raise FileBatchNotFound

    async def _hold(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> None:
        held = await self._transaction.execute(_HOLD, {"shelf": knowledge_base, "of": owner})
        if held.first() is None:
            raise KnowledgeBaseNotFound
