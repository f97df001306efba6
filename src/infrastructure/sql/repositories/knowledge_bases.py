"""Knowledge bases."""

from sqlalchemy import and_, bindparam, delete, insert, select, update

from llm_backend.domain.errors import KnowledgeBaseNotFound
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import KnowledgeBase
from llm_backend.infrastructure.sql.deleted_places import note_documents, note_knowledge_bases
from llm_backend.infrastructure.sql.mapping import (
    KNOWLEDGE_BASE_COLUMNS,
    knowledge_base_from,
    knowledge_base_values,
)
from llm_backend.infrastructure.sql.rows import DELETED, documents, file_attachments, knowledge_bases
from llm_backend.infrastructure.sql.transaction import Transaction

_OWNED = and_(knowledge_bases.c.id == bindparam("shelf"), knowledge_bases.c.owner == bindparam("of"))
_GET = select(*KNOWLEDGE_BASE_COLUMNS).where(_OWNED)
# Held until the end, so that nobody adds a document between the burial and the removal: SQLite lets nobody anyway.
_HOLD = select(knowledge_bases.c.id).where(_OWNED).with_for_update()
_ITS_DOCUMENTS = and_(documents.c.knowledge_base_id == bindparam("shelf"), documents.c.owner == bindparam("of"))
# Nobody pages through its files any more, but through all files, which some of its documents were by themselves.
_NOTE_FILES = note_documents(and_(_ITS_DOCUMENTS, file_attachments.c.document_id.is_(None)))
_NOTE = note_knowledge_bases(_OWNED)
_BURY = update(documents).where(_ITS_DOCUMENTS).values(state=DELETED)
_RENAME = update(knowledge_bases).where(_OWNED).values(name=bindparam("called"))
_REMOVE = delete(knowledge_bases).where(_OWNED)


class SqlKnowledgeBases:
    """`KnowledgeBases` in the table `knowledge_bases`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, knowledge_base: KnowledgeBase) -> None:
        await self._transaction.execute(insert(knowledge_bases), knowledge_base_values(knowledge_base))

    async def get(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> KnowledgeBase:
        row = (await self._transaction.execute(_GET, {"shelf": knowledge_base, "of": owner})).first()
        if row is None:
            raise KnowledgeBaseNotFound
        return knowledge_base_from(row)

    async def rename(self, knowledge_base: KnowledgeBase) -> None:
        values = {"shelf": knowledge_base.id, "of": knowledge_base.owner, "called": knowledge_base.name}
        if not (await self._transaction.execute(_RENAME, values)).rowcount:
            raise KnowledgeBaseNotFound

    async def remove(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> None:
        values = {"shelf": knowledge_base, "of": owner}
        if (await self._transaction.execute(_HOLD, values)).first() is None:
            raise KnowledgeBaseNotFound
        for statement in (_NOTE_FILES, _BURY, _NOTE, _REMOVE):
            await self._transaction.execute(statement, values)
