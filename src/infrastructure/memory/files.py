"""Uploaded files in memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.domain.errors import StoredFileNotFound
from llm_backend.domain.files import Attachment, StoredFile
from llm_backend.domain.ids import DocumentId, FileId, UserId
from llm_backend.domain.knowledge import Document
from llm_backend.infrastructure.memory.deleted_places import note_place_of_document, note_place_of_file
from llm_backend.infrastructure.memory.knowledge import is_seen
from llm_backend.infrastructure.memory.tables import Place


@dataclass(frozen=True, slots=True)
class MemoryFiles:
    """Files by id, and attachments by document."""

    place: Place

    async def add(self, file: StoredFile) -> None:
        self.place.tables.files[file.id] = file

    async def hold(self, owner: UserId, file: FileId) -> StoredFile:
        """Units of work come one after the other here."""
        found = self.place.tables.files.get(file)
        if found is None or found.owner != owner:
            raise StoredFileNotFound
        return found

    async def remove(self, owner: UserId, file: FileId) -> None:
        found, tables = await self.hold(owner, file), self.place.tables
        note_place_of_file(tables, owner, file, found.created_at)
        for became in await self.attached(owner, file):
            note_place_of_document(tables, became)
        del tables.files[file]
        attachments = tables.attachments
        for document in [one.document for one in attachments.values() if one.file == file]:
            del attachments[document]

    async def attach(self, attachment: Attachment) -> None:
        self.place.tables.attachments[attachment.document] = attachment

    async def attached(self, owner: UserId, file: FileId) -> Sequence[Document]:
        attachments = self.place.tables.attachments
        rows = [row for row in self.place.tables.documents.values() if is_seen(row, owner)]
        theirs = [row.document for row in rows if row.document.id in attachments]
        return [replace(one) for one in theirs if attachments[one.id].file == file]

    async def attachment(self, document: DocumentId) -> Attachment | None:
        return self.place.tables.attachments.get(document)

    async def expired(self, now: datetime) -> Sequence[tuple[UserId, FileId]]:
        return [(file.owner, file.id) for file in self.place.tables.files.values() if not file.is_live(now)]

    async def present(self, files: Collection[FileId]) -> Collection[FileId]:
        return self.place.tables.files.keys() & files
