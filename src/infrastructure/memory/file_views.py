"""Looking at files and vector stores in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeVar

from llm_backend.application.ports.file_views import Id, Slice
from llm_backend.domain.errors import CursorNotFound, StoredFileNotFound
from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Document, DocumentState, KnowledgeBase
from llm_backend.domain.vector_stores import FileBatch, FileCounts, FileStatus, StoreFile, StoreSettings, VectorStore
from llm_backend.infrastructure.memory.deleted_places import number_of_deleted
from llm_backend.infrastructure.memory.knowledge import is_seen, knowledge_base_of
from llm_backend.infrastructure.memory.tables import Place
from llm_backend.infrastructure.memory.vector_stores import batch_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MemoryFileViews:
    """Files, attachments and vector stores to look at."""

    place: Place

    async def files(
        self,
        owner: UserId,
        *,
        now: datetime,
        limit: int,
        purpose: Purpose | None = None,
        newest_first: bool = True,
        after: FileId | None = None,
    ) -> Sequence[StoredFile]:
        found = [file for file in self._all(owner) if file.is_live(now) and purpose in {None, file.purpose}]
        found.sort(key=_place, reverse=newest_first)
        if after is None:
            return found[:limit]
        last = self._place_of(owner, after)
        behind = [file for file in found if (_place(file) < last if newest_first else _place(file) > last)]
        return behind[:limit]

    async def file(self, owner: UserId, file: FileId) -> StoredFile:
        attachment = self.place.tables.attachments.get(DocumentId(file))
        row = self.place.tables.documents.get(DocumentId(file))
        became = attachment is not None and row is not None and is_seen(row, owner)
        wanted = {file} | ({attachment.file} if attachment is not None and became else set())
        found = {one.id: one for one in self._all(owner) if one.id in wanted}
        if not found:
            raise StoredFileNotFound
        return found.get(file) or next(iter(found.values()))

    async def vector_stores(self, owner: UserId, part: Slice[KnowledgeBaseId] | None = None) -> Sequence[VectorStore]:
        shelves = [one for one in self.place.tables.knowledge_bases.values() if one.owner == owner]
        there = {shelf.id for shelf in shelves}
        tables = self.place.tables

        def number_of(store: KnowledgeBaseId) -> int | None:
            return tables.numbers[store] if store in there else number_of_deleted(tables, owner, store)

        found = _sliced(shelves[::-1], part, lambda shelf: tables.numbers[shelf.id], number_of)
        return [self._store(shelf) for shelf in found]

    async def vector_store(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        return self._store(knowledge_base_of(self.place.tables, owner, knowledge_base))

    async def store_files(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        part: Slice[FileId] | None = None,
        *,
        batch: FileBatchId | None = None,
        status: FileStatus | None = None,
    ) -> Sequence[StoreFile]:
        found = self._files_of(knowledge_base_of(self.place.tables, owner, knowledge_base))
        row = self.place.tables.file_batches.get(batch) if batch else None
        wanted = [
            one
            for one in found
            if status in {None, one.status} and (batch is None or (row and one.document.id in row.documents))
        ]
        numbers = self.place.tables.numbers

        def number_of(file: FileId) -> int | None:
            there = [numbers[one.document.id] for one in found if one.file == file]
            return max(there) if there else number_of_deleted(self.place.tables, owner, file, knowledge_base)

        return _sliced(wanted, part, lambda one: numbers[one.document.id], number_of)

    async def store_file(self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId) -> StoreFile:
        for one in await self.store_files(owner, knowledge_base):
            if one.file == file:
                return one
        raise StoredFileNotFound

    async def files_of(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentId]
    ) -> Mapping[DocumentId, StoreFile]:
        shelf = self.place.tables.knowledge_bases.get(knowledge_base)
        files = self._files_of(shelf) if shelf and shelf.owner == owner else []
        return {file.document.id: file for file in files if file.document.id in documents}

    async def batch(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> FileBatch:
        return batch_of(self.place.tables, owner, knowledge_base, batch).batch

    def _place_of(self, owner: UserId, file: FileId) -> tuple[datetime, FileId]:
        """Also of one that has been deleted. Raises `CursorNotFound`."""
        there = next((_place(one) for one in self._all(owner) if one.id == file), None)
        deleted = self.place.tables.deleted_places.get((owner, file, None))
        if there:
            return there
        if deleted is None or deleted.made_at is None:
            raise CursorNotFound(param="after")
        return deleted.made_at, file

    def _all(self, owner: UserId) -> list[StoredFile]:
        tables = self.place.tables
        uploaded = [file for file in tables.files.values() if file.owner == owner]
        seen = [row.document for row in tables.documents.values() if is_seen(row, owner)]
        return uploaded + [_as_file(document) for document in seen if document.id not in tables.attachments]

    def _store(self, shelf: KnowledgeBase) -> VectorStore:
        settings = self.place.tables.store_settings.get(shelf.id)
        files = self._files_of(shelf)
        return VectorStore(
            base=replace(shelf),
            settings=settings or StoreSettings(last_active_at=shelf.created_at),
            counts=FileCounts.of([file.status for file in files]),
            bytes_used=sum(file.document.size for file in files if file.document.state is DocumentState.READY),
        )

    def _files_of(self, shelf: KnowledgeBase) -> list[StoreFile]:
        rows = [row for row in self.place.tables.documents.values() if is_seen(row, shelf.owner)]
        theirs = [row.document for row in rows if row.document.knowledge_base == shelf.id]
        return [self._store_file(document) for document in reversed(theirs)]

    def _store_file(self, document: Document) -> StoreFile:
        attachment = self.place.tables.attachments.get(document.id)
        return StoreFile(
            file=attachment.file if attachment else FileId(document.id),
            document=replace(document),
            chunking=attachment.chunking if attachment else None,
        )


def _sliced(
    newest_first: Sequence[T],
    part: Slice[Id] | None,
    number: Callable[[T], int],
    number_of: Callable[[Id], int | None],
) -> Sequence[T]:
    """`number_of` finds neighbours, whether they are listed or not. Raises `CursorNotFound`."""
    if part is None:
        return newest_first
    after = _found("after", part.after, number_of)
    before = _found("before", part.before, number_of)
    low, high = (before, after) if part.newest_first else (after, before)
    between = [
        one for one in newest_first if (low is None or low < number(one)) and (high is None or number(one) < high)
    ]
    listed = between if part.newest_first else between[::-1]
    return listed[max(len(listed) - part.limit, 0) :] if part.ends else listed[: part.limit]


def _found(param: Literal["after", "before"], name: Id | None, number_of: Callable[[Id], int | None]) -> int | None:
    """The number of a neighbour that has a name."""
    number = None if name is None else number_of(name)
    if name is not None and number is None:
        raise CursorNotFound(param=param)
    return number


def _place(file: StoredFile) -> tuple[datetime, FileId]:
    return file.created_at, file.id


def _as_file(document: Document) -> StoredFile:
    return StoredFile(
        id=FileId(document.id),
        owner=document.owner,
        name=document.name,
        purpose=Purpose.ASSISTANTS,
        size=document.size,
        sha256=document.sha256,
        created_at=document.created_at,
    )
