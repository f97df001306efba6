"""Files that users upload to have at hand: each can be attached to any number of knowledge bases, as a document."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from llm_backend.domain.chunking import DEFAULT_SIZES, ChunkSizes
from llm_backend.domain.errors import InvalidChunking, InvalidFileExpiry
from llm_backend.domain.ids import DocumentId, FileId, UserId
from llm_backend.domain.knowledge import Document

SHORTEST_LIFE = timedelta(hours=1)
LONGEST_LIFE = timedelta(days=30)
LETTERS_PER_TOKEN = 4  # of text in Latin letters; a character of Chinese, Japanese or Korean is about one token


class Purpose(StrEnum):
    """What a file is meant for. It is only remembered: every file can be attached and read."""

    ASSISTANTS = "assistants"
    BATCH = "batch"
    FINE_TUNE = "fine-tune"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file as it was uploaded; its content is kept apart. A document that was uploaded straight into a knowledge base
    is such a file as well, under the id of the document."""

    id: FileId
    owner: UserId
    name: str
    purpose: Purpose
    size: int
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.expires_at and not SHORTEST_LIFE <= self.expires_at - self.created_at <= LONGEST_LIFE:
            raise InvalidFileExpiry

    def is_live(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How long the chunks of a document may be, and what neighbours may share, in tokens: by estimate, as no tokenizer
    is asked. Raises `InvalidChunking`."""

    longest: int
    overlap: int

    def __post_init__(self) -> None:
        if not 100 <= self.longest <= 4096 or not 0 <= 2 * self.overlap <= self.longest:
            raise InvalidChunking

    @property
    def sizes(self) -> ChunkSizes:
        letters = self.longest * LETTERS_PER_TOKEN
        return ChunkSizes(
            longest=letters,
            longest_dense=self.longest,
            merged=min(DEFAULT_SIZES.merged, letters),
            overlap=self.overlap * LETTERS_PER_TOKEN,
        )


USUAL_CHUNKING = Chunking(
    longest=DEFAULT_SIZES.longest // LETTERS_PER_TOKEN, overlap=DEFAULT_SIZES.overlap // LETTERS_PER_TOKEN
)
"""What `DEFAULT_SIZES` come to in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """The document that a file has become in one knowledge base. Without `chunking` it is cut as usual."""

    document: DocumentId
    file: FileId
    chunking: Chunking | None = None


class Files(Protocol):
    """The files of everybody; what a user asks for sees only those of `owner`."""

    async def add(self, file: StoredFile) -> None: ...

    async def hold(self, owner: UserId, file: FileId) -> StoredFile:
        """Nobody else attaches or removes it until the unit of work is over. Raises `StoredFileNotFound`."""

    async def remove(self, owner: UserId, file: FileId) -> None:
        """It is gone with the commit, and so are its attachments, but not the documents that it became. Lists go on
        behind where it was. Raises `StoredFileNotFound`."""

    async def attach(self, attachment: Attachment) -> None:
        """Both the file and the document are there."""

    async def attached(self, owner: UserId, file: FileId) -> Sequence[Document]:
        """What the file has become and is not deleted, oldest first."""

    async def attachment(self, document: DocumentId) -> Attachment | None:
        """None for a document that was uploaded straight into its knowledge base. For those who read documents in."""

    async def expired(self, now: datetime) -> Sequence[tuple[UserId, FileId]]:
        """For the housekeeper."""

    async def present(self, files: Collection[FileId]) -> Collection[FileId]:
        """Those of them that are there, of whomever. For the housekeeper."""
