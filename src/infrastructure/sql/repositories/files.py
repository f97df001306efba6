"""Uploaded files, and the documents that they have become."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Text, and_, bindparam, delete, insert, select

from llm_backend.domain.errors import StoredFileNotFound
from llm_backend.domain.files import Attachment, StoredFile
from llm_backend.domain.ids import DocumentId, FileId, UserId
from llm_backend.domain.knowledge import Document
from llm_backend.infrastructure.sql.deleted_places import note_documents, note_files
from llm_backend.infrastructure.sql.dialects import IsMember
from llm_backend.infrastructure.sql.files_mapping import (
    ATTACHMENT_COLUMNS,
    FILE_COLUMNS,
    attachment_from,
    attachment_values,
    file_from,
    file_values,
)
from llm_backend.infrastructure.sql.mapping import DOCUMENT_COLUMNS, document_from
from llm_backend.infrastructure.sql.rows import DELETED, documents, file_attachments, files
from llm_backend.infrastructure.sql.together import Statements
from llm_backend.infrastructure.sql.transaction import Transaction

_OWNED = and_(files.c.id == bindparam("file"), files.c.owner == bindparam("of"))
_HOLD = select(*FILE_COLUMNS).where(_OWNED).with_for_update()  # SQLite has one writer at a time anyway
_NOTE = note_files(_OWNED)
_NOTE_ATTACHED = note_documents(
    and_(file_attachments.c.file_id == bindparam("file"), documents.c.owner == bindparam("of"))
)
_REMOVE = delete(files).where(_OWNED)
_ATTACHED = (
    select(*DOCUMENT_COLUMNS)
    .join(file_attachments, file_attachments.c.document_id == documents.c.id)
    .where(
        file_attachments.c.file_id == bindparam("file"),
        documents.c.owner == bindparam("of"),
        documents.c.state != DELETED,
    )
    .order_by(documents.c.sequence)
)
_ATTACHMENT = select(*ATTACHMENT_COLUMNS).where(file_attachments.c.document_id == bindparam("document"))
_EXPIRED = select(files.c.owner, files.c.id).where(files.c.expires_at <= bindparam("now"))
_PRESENT = select(files.c.id).where(IsMember(files.c.id, bindparam("members", type_=Text)))


class SqlFiles:
    """`Files` in the tables `files` and `file_attachments`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, file: StoredFile) -> None:
        await self._transaction.execute(insert(files), file_values(file))

    async def hold(self, owner: UserId, file: FileId) -> StoredFile:
        row = (await self._transaction.execute(_HOLD, {"file": file, "of": owner})).first()
        if row is None:
            raise StoredFileNotFound
        return file_from(row)

    async def remove(self, owner: UserId, file: FileId) -> None:
        """While the attachments are there, which say by what id its documents have been listed."""
        values = {"file": file, "of": owner}

        def remove(statements: Statements) -> int:
            statements.execute(_NOTE, values)
            statements.execute(_NOTE_ATTACHED, values)
            return statements.execute(_REMOVE, values).changed

        if not await self._transaction.together(remove):
            raise StoredFileNotFound

    async def attach(self, attachment: Attachment) -> None:
        await self._transaction.execute(insert(file_attachments), attachment_values(attachment))

    async def attached(self, owner: UserId, file: FileId) -> Sequence[Document]:
        found = await self._transaction.execute(_ATTACHED, {"file": file, "of": owner})
        return list(map(document_from, found))

    async def attachment(self, document: DocumentId) -> Attachment | None:
        values = {"document": document}
        found = await self._transaction.together(lambda statements: statements.execute(_ATTACHMENT, values))
        return attachment_from(found.rows[0]) if found.rows else None

    async def expired(self, now: datetime) -> Sequence[tuple[UserId, FileId]]:
        found = await self._transaction.execute(_EXPIRED, {"now": now})
        return [(UserId(owner), FileId(file)) for owner, file in found]

    async def present(self, files: Collection[FileId]) -> Collection[FileId]:
        members = msgspec.json.encode(list(files)).decode()
        found = (await self._transaction.execute(_PRESENT, {"members": members})).scalars()
        return set(map(FileId, found))
