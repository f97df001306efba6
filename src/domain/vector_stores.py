"""Knowledge bases as vector stores: what their owners note down about them, and how far their files have come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from llm_backend.domain.errors import IngestionCancelled, InvalidMetadata, InvalidStoreExpiry, VectorStoreExpired
from llm_backend.domain.files import Chunking
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Document, DocumentState, KnowledgeBase
from llm_backend.domain.text import is_storable

MOST_METADATA = 16
LONGEST_KEY = 64  # characters
LONGEST_VALUE = 512  # characters
LONGEST_DESCRIPTION = 512  # characters
LONGEST_LIFE = timedelta(days=365)

Metadata = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """What an owner has noted down about a knowledge base. With `expires_after` it is deleted when nobody has used it
    for that long. Raises `InvalidMetadata`, `InvalidStoreExpiry`."""

    metadata: Metadata = field(default_factory=dict)
    description: str = ""
    expires_after: timedelta | None = None
    last_active_at: datetime

    def __post_init__(self) -> None:
        fits = all(1 <= len(key) <= LONGEST_KEY and len(text) <= LONGEST_VALUE for key, text in self.metadata.items())
        texts = [self.description, *self.metadata, *self.metadata.values()]
        if not fits or len(self.metadata) > MOST_METADATA or not all(map(is_storable, texts)):
            raise InvalidMetadata
        if len(self.description) > LONGEST_DESCRIPTION:
            raise InvalidMetadata
        if self.expires_after is not None and not timedelta(days=1) <= self.expires_after <= LONGEST_LIFE:
            raise InvalidStoreExpiry

    @property
    def expires_at(self) -> datetime | None:
        return None if self.expires_after is None else self.last_active_at + self.expires_after


class FileStatus(StrEnum):
    """How far a file has come on its way into a vector store."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCounts:
    """How many files have come how far."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled

    @classmethod
    def of(cls, statuses: Sequence[FileStatus]) -> "FileCounts":
        return cls(**{status.value: statuses.count(status) for status in FileStatus})


class StoreStatus(StrEnum):
    """Whether a vector store can be used, and whether all of it can be found."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStore:
    """A knowledge base with its settings and what is in it; `bytes_used` is the size of its completed files."""

    base: KnowledgeBase
    settings: StoreSettings
    counts: FileCounts = FileCounts()
    bytes_used: int = 0
    is_expired: bool = False

    @property
    def status(self) -> StoreStatus:
        if self.is_expired:
            return StoreStatus.EXPIRED
        return StoreStatus.IN_PROGRESS if self.counts.in_progress else StoreStatus.COMPLETED

    def at(self, now: datetime) -> "VectorStore":
        """The same, expired or not."""
        end = self.settings.expires_at
        return replace(self, is_expired=end is not None and now >= end)

    def check_open(self) -> None:
        """Raises `VectorStoreExpired`."""
        if self.is_expired:
            raise VectorStoreExpired


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFile:
    """A document as a file of a vector store. Without `chunking` it is cut as usual."""

    file: FileId
    document: Document
    chunking: Chunking | None = None

    @property
    def status(self) -> FileStatus:
        return file_status(self.document.state, self.document.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBatch:
    """Files that were attached by one request."""

    id: FileBatchId
    owner: UserId
    knowledge_base: KnowledgeBaseId
    created_at: datetime
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """A batch, and how far those of its files have come that are still in the store."""

    batch: FileBatch
    counts: FileCounts

    @property
    def status(self) -> FileStatus:
        if self.counts.in_progress:
            return FileStatus.IN_PROGRESS
        return FileStatus.CANCELLED if self.batch.is_cancelled else FileStatus.COMPLETED


class VectorStores(Protocol):
    """The settings and batches of everybody; each method with an owner sees only theirs."""

    async def configure(self, owner: UserId, knowledge_base: KnowledgeBaseId, settings: StoreSettings) -> None:
        """In place of what was noted down before. Raises `KnowledgeBaseNotFound`."""

    async def touch(self, knowledge_base: KnowledgeBaseId, at: datetime) -> None:
        """It is in use: its end, if it has one, is put off. No error if there are no settings."""

    async def expiring(self) -> Sequence[tuple[UserId, KnowledgeBaseId, StoreSettings]]:
        """All that have an end. For the housekeeper."""

    async def add_batch(self, batch: FileBatch, documents: Sequence[DocumentId]) -> None:
        """Raises `KnowledgeBaseNotFound`."""

    async def cancel_batch(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> None:
        """Only notes it down. Raises `FileBatchNotFound`."""


def file_status(state: DocumentState, reason: str | None) -> FileStatus:
    """How far a document that is not deleted has come."""
    match state:
        case DocumentState.PENDING:
            return FileStatus.IN_PROGRESS
        case DocumentState.READY:
            return FileStatus.COMPLETED
        case _:
            return FileStatus.CANCELLED if reason == IngestionCancelled.code else FileStatus.FAILED
