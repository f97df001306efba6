"""What is noted down about knowledge bases as vector stores, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.domain.errors import FileBatchNotFound
from llm_backend.domain.ids import DocumentId, FileBatchId, KnowledgeBaseId, UserId
from llm_backend.domain.vector_stores import FileBatch, StoreSettings
from llm_backend.infrastructure.memory.knowledge import knowledge_base_of
from llm_backend.infrastructure.memory.tables import BatchRow, Place, Tables


@dataclass(frozen=True, slots=True)
class MemoryVectorStores:
    """Settings by knowledge base, and batches by id."""

    place: Place

    async def configure(self, owner: UserId, knowledge_base: KnowledgeBaseId, settings: StoreSettings) -> None:
        knowledge_base_of(self.place.tables, owner, knowledge_base)
        self.place.tables.store_settings[knowledge_base] = settings

    async def touch(self, knowledge_base: KnowledgeBaseId, at: datetime) -> None:
        settings = self.place.tables.store_settings
        if knowledge_base in settings:
            settings[knowledge_base] = replace(settings[knowledge_base], last_active_at=at)

    async def expiring(self) -> Sequence[tuple[UserId, KnowledgeBaseId, StoreSettings]]:
        tables = self.place.tables
        ending = [(shelf, one) for shelf, one in tables.store_settings.items() if one.expires_at]
        return [(tables.knowledge_bases[shelf].owner, shelf, one) for shelf, one in ending]

    async def add_batch(self, batch: FileBatch, documents: Sequence[DocumentId]) -> None:
        knowledge_base_of(self.place.tables, batch.owner, batch.knowledge_base)
        self.place.tables.file_batches[batch.id] = BatchRow(batch=batch, documents=frozenset(documents))

    async def cancel_batch(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> None:
        row = batch_of(self.place.tables, owner, knowledge_base, batch)
        self.place.tables.file_batches[batch] = replace(row, batch=replace(row.batch, is_cancelled=True))


def batch_of(tables: Tables, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> BatchRow:
    """Raises `FileBatchNotFound`."""
    row = tables.file_batches.get(batch)
    if row is None or row.batch.owner != owner or row.batch.knowledge_base != knowledge_base:
        raise FileBatchNotFound
    return row
