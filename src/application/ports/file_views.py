"""Looking at files and vector stores without a unit of work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.vector_stores import FileBatch, FileStatus, StoreFile, VectorStore

Id = TypeVar("Id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[Id]):
    """A part of a list: at most `limit` of what comes after one thing and before another, without these. With `before`
    alone it is what comes right before that. Either may have been deleted meanwhile; whoever looks it up raises
    `CursorNotFound` when it never was in the list."""

    limit: int
    newest_first: bool = True
    after: Id | None = None
    before: Id | None = None

    @property
    def ends(self) -> bool:
        """Whether all that is known is where it ends."""
        return self.before is not None and self.after is None


class FileViews(Protocol):
    """Files by themselves, and as parts of vector stores. Nothing deleted is in any of these views, and nothing of
    somebody else's; what has expired only where that is said."""

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
        """Uploaded files that have not expired, and documents that were uploaded straight into a knowledge base, by the
        time they were made. Raises `CursorNotFound`."""

    async def file(self, owner: UserId, file: FileId) -> StoredFile:
        """Also an expired one. The document that a file has become stands for the file. Raises `StoredFileNotFound`."""

    async def vector_stores(self, owner: UserId, part: Slice[KnowledgeBaseId] | None = None) -> Sequence[VectorStore]:
        """A part of them; all, newest first, without. Raises `CursorNotFound`."""

    async def vector_store(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        """Raises `KnowledgeBaseNotFound`."""

    async def store_files(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        part: Slice[FileId] | None = None,
        *,
        batch: FileBatchId | None = None,
        status: FileStatus | None = None,
    ) -> Sequence[StoreFile]:
        """A part of them; all, newest first, without. With `batch`, those of that batch; with `status`, those that have
        come so far; a neighbour may be any file of the vector store. Raises `KnowledgeBaseNotFound` or
        `CursorNotFound`."""

    async def store_file(self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId) -> StoreFile:
        """The newest, where a file was attached again. Raises `KnowledgeBaseNotFound` or `StoredFileNotFound`."""

    async def files_of(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentId]
    ) -> Mapping[DocumentId, StoreFile]:
        """The files that these documents were; those that are not there are left out."""

    async def batch(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> FileBatch:
        """Raises `FileBatchNotFound`."""
