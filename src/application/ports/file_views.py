"""Looking at files and vector stores without a unit of work."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.vector_stores import FileBatch, StoreFile, VectorStore


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
        time they were made. None, when `after` does not exist."""

    async def file(self, owner: UserId, file: FileId) -> StoredFile:
        """Also an expired one. The document that a file has become stands for the file. Raises `StoredFileNotFound`."""

    async def vector_stores(self, owner: UserId) -> Sequence[VectorStore]:
        """Newest first."""

    async def vector_store(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        """Raises `KnowledgeBaseNotFound`."""

    async def store_files(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, *, batch: FileBatchId | None = None
    ) -> Sequence[StoreFile]:
        """Newest first; with `batch`, those of that batch. Raises `KnowledgeBaseNotFound`."""

    async def store_file(self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId) -> StoreFile:
        """The newest, where a file was attached again. Raises `KnowledgeBaseNotFound` or `StoredFileNotFound`."""

    async def files_of(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentId]
    ) -> Mapping[DocumentId, StoreFile]:
        """The files that these documents were; those that are not there are left out."""

    async def batch(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> FileBatch:
        """Raises `FileBatchNotFound`."""
