"""Knowledge bases: documents, the passages they are cut into, and what a search finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Protocol

from llm_backend.domain.errors import InvalidDocumentName, InvalidKnowledgeBaseName
from llm_backend.domain.filters import DOCUMENT_ID, DOCUMENT_NAME, FILE_TYPE, Attributes
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.text import has_control_characters, is_storable

LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpace:
    """Vectors can be compared only within one space: the same model and the same number of dimensions."""

    model: str
    dimensions: int


@dataclass(slots=True, kw_only=True)
class KnowledgeBase:
    """A shelf of documents that are searched together, seen by its owner alone."""

    id: KnowledgeBaseId
    owner: UserId
    name: str
    space: EmbeddingSpace
    created_at: datetime

    def __post_init__(self) -> None:
        fits = 1 <= len(self.name) <= LONGEST_NAME and self.name.strip()
        if not fits or has_control_characters(self.name) or not is_storable(self.name):
            raise InvalidKnowledgeBaseName


class DocumentState(StrEnum):
    """`PENDING` documents are being read in; only `READY` ones are listed, and found by words and by meaning;
    `FAILED` ones can be asked for their reason; `DELETED` is a tombstone that stays until nothing of the document is
    left anywhere."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"


@dataclass(slots=True, kw_only=True)
class Document:
    """An uploaded file. `attempt` tells the passages of one try at reading it in from those of an earlier one, and
    is 0 before the first. The passages of the `readable_attempt` at a pending one are found by their words already: it
    waits for its vectors. `reason` is the code of what a failed one failed by. One that `replaces` is a new version: as
    soon as it is ready, the older documents of its name are gone."""

    id: DocumentId
    knowledge_base: KnowledgeBaseId
    owner: UserId
    name: str
    file_type: str
    size: int
    sha256: str
    state: DocumentState = DocumentState.PENDING
    attempt: int = 1
    readable_attempt: int | None = None
    reason: str | None = None
    created_at: datetime
    attributes: Attributes = field(default_factory=dict)
    replaces: bool = False

    @property
    def found_attempt(self) -> int | None:
        """The attempt whose passages a search may show, if any."""
        match self.state:
            case DocumentState.READY:
                return self.attempt
            case DocumentState.PENDING:
                return self.readable_attempt
            case _:
                return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSummary:
    """One line in the list of documents."""

    id: DocumentId
    knowledge_base: KnowledgeBaseId
    name: str
    file_type: str
    attributes: Attributes = field(default_factory=dict)

    @property
    def facts(self) -> Attributes:
        """What filters can ask for."""
        return {**self.attributes, DOCUMENT_ID: self.id, DOCUMENT_NAME: self.name, FILE_TYPE: self.file_type}


class IngestionStep(StrEnum):
    """Where a document is on its way in. `WAITING`: for the next try, after one that failed."""

    QUEUED = "queued"
    PARSING = "parsing"
    EMBEDDING = "embedding"
    INDEXING = "indexing"
    WAITING = "waiting"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentStatus:
    """How far a document has come: `percent` of the way in, and into how many chunks it was cut."""

    document: Document
    chunks: int
    step: IngestionStep = IngestionStep.DONE
    percent: int = 100

    @property
    def is_settled(self) -> bool:
        return self.document.state is not DocumentState.PENDING

    @classmethod
    def at_rest(cls, document: Document, chunks: int) -> "DocumentStatus":
        """What can be told of a document without a look at its job."""
        if document.state is DocumentState.PENDING:
            return cls(document=document, chunks=chunks, step=IngestionStep.QUEUED, percent=0)
        return cls(document=document, chunks=chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A paragraph, table row or code block of a document: characters `start` to `end` of its text.

    `headings` is the path of headings above it, outermost first; `page` counts from 1 where there are pages or
    slides; `sheet` is the name of the sheet in workbooks.
    """

    start: int
    end: int
    headings: tuple[str, ...] = ()
    page: int | None = None
    sheet: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """A file read: its canonical text, and the blocks of it in order, without overlaps."""

    text: str
    blocks: Sequence[Block]
    file_type: str
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """A part of a ready document's canonical text: `text` is what it says from character `start` on (Unicode code
    points), `length` is how long the whole is, and `blocks` are those that reach into the part, in order."""

    document: Document
    length: int
    start: int
    text: str
    blocks: Sequence[Block]

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a document small enough to be found on its own.

    `text` is exactly characters `start` to `end` (Unicode code points) of the document's text. `search_text` is what
    full-text search and embedding see: title and headings in front, folded so that spelling variants meet.
    `headings`, `page` and `sheet` are those of its blocks: no chunk reaches from one page or sheet into the next.
    """

    position: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    sheet: str | None = None
    search_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A chunk with what the index needs to know of it. `vector` is `None` until it has been embedded."""

    knowledge_base: KnowledgeBaseId
    document: DocumentId
    attempt: int
    chunk: Chunk
    vector: bytes | None = field(default=None, repr=False)  # little-endian float32, one per dimension


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParts:
    """How a score came about: the raw full-text score, the cosine, the ranks (from 1) in either list, the shares (0 to
    1) of the question's words and of its pairs of words, what was made of all that, and what a reranking model says, if
    one was asked."""

    bm25: float = 0.0
    cosine: float = 0.0
    text_rank: int | None = None
    vector_rank: int | None = None
    words: float = 0.0
    pairs: float = 0.0
    fused: float = 0.0
    reranked: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk that was found, best first; `score` is between 0 and 1."""

    knowledge_base: KnowledgeBaseId
    document: DocumentId
    document_name: str
    chunk: Chunk
    score: float
    parts: ScoreParts = ScoreParts()


class Relevance(StrEnum):
    """Of what was found to what was asked. With `LOW` it is for the reader to judge; `NONE` is as good as nothing."""

    HIGH = "high"
    LOW = "low"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The result of a search. `degraded`: by text alone, as vectors were not to be had, be it of a single document, or
    without the reranking that is configured, or from an index that is just being filled again."""

    passages: Sequence[Passage]
    degraded: bool = False
    relevance: Relevance = Relevance.HIGH

    @property
    def relevant(self) -> bool:
        """Whether it is worth anything."""
        return self.relevance is not Relevance.NONE


class KnowledgeBases(Protocol):
    """The knowledge bases of everybody; each method sees only those of `owner`."""

    async def add(self, knowledge_base: KnowledgeBase) -> None: ...

    async def get(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> KnowledgeBase:
        """Raises `KnowledgeBaseNotFound`."""

    async def rename(self, knowledge_base: KnowledgeBase) -> None:
        """Give the stored one the name of this one. Raises `KnowledgeBaseNotFound`."""

    async def remove(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> None:
        """It is gone with the commit; its documents become tombstones. Raises `KnowledgeBaseNotFound`."""


class Documents(Protocol):
    """The documents of everybody; what a user asks for sees only those of `owner`.

    The methods without an owner are for those who read documents in, and for the housekeeper, who finishes what a
    crash cut off.
    """

    async def add(
        self, document: Document, text: str = "", chunks: Sequence[Chunk] = (), blocks: Sequence[Block] = ()
    ) -> None:
        """The document, with its canonical text, chunks and blocks if they are known already. Raises
        `KnowledgeBaseNotFound` if that is gone."""

    async def get(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> Document:
        """Only a ready one. Raises `DocumentNotFound`."""

    async def find(self, document: DocumentId) -> tuple[Document, EmbeddingSpace | None] | None:
        """In whatever state, with the space that its knowledge base is searched in. The knowledge base of a tombstone
        is empty if it is gone as well, and so is the space."""

    async def spaces_of(self, documents: Sequence[DocumentId]) -> Mapping[EmbeddingSpace, Sequence[DocumentId]]:
        """Every space in whose index there may be something of them, in whatever state they are."""

    async def begin_attempt(self, document: DocumentId) -> int | None:
        """The number of the next attempt at a pending document; what earlier ones write from now on has no effect.
        From now on there may be something of it in the index of its knowledge base's space. None when it is not
        pending."""

    async def alike(self, owner: UserId, knowledge_base: KnowledgeBaseId, name: str) -> Sequence[Document]:
        """Pending and ready documents of that name, oldest first. Whoever else asks that of the same knowledge base
        waits until this unit of work is over, so that both cannot add the same. Raises `KnowledgeBaseNotFound`."""

    async def describe(self, owner: UserId, document: DocumentId, attributes: Attributes) -> None:
        """Give a pending or ready document these attributes, in place of those it has. Raises `DocumentNotFound`."""

    async def bury_replaced(self, document: DocumentId) -> Sequence[DocumentId]:
        """Make tombstones of all pending and ready documents in the knowledge base of this one that have its name and
        are older; return which."""

    async def store_contents(
        self,
        document: DocumentId,
        attempt: int,
        file_type: str,
        text: str,
        chunks: Sequence[Chunk],
        blocks: Sequence[Block] = (),
    ) -> bool:
        """What was read, in place of what an earlier attempt has read. False when the document has been deleted,
        cancelled or tried again in the meantime; nothing happens then."""

    async def store_vectors(
        self,
        document: DocumentId,
        attempt: int,
        space: EmbeddingSpace,
        vectors: Sequence[bytes],
        statistics: bytes | None = None,
        *,
        first: int = 0,
    ) -> bool:
        """One vector per chunk, in the order of their positions, and what the embedder wants to remember of the
        document's terms (see `Embedder`), in place of what is there. Those of a large document may come in parts, in
        front of which are `first` others: these stay, and those behind it, which another process may have stored that
        is at the same. False when the document has been deleted, cancelled or tried again in the meantime,
        or was not to be in the index of that space; nothing happens then."""

    async def vectors(
        self, document: DocumentId, attempt: int, space: EmbeddingSpace, *, first: int, limit: int
    ) -> Sequence[bytes]:
        """What this attempt has stored, in order, without the `first` ones. Nothing when the document has been deleted,
        cancelled or tried again in the meantime."""

    async def mark_readable(self, document: DocumentId, attempt: int, space: EmbeddingSpace) -> int | None:
        """What this attempt has stored is found by its words from now on, until the document is ready or fails, or its
        knowledge base moves to another space; no later attempt takes that away. Return the number under which this
        attempt goes on: passages with vectors never bear the one of those without. None when the document has been
        deleted, cancelled or tried again in the meantime, or its knowledge base is not in that space; nothing happens
        then."""

    async def mark_ready(self, document: DocumentId, attempt: int) -> bool:
        """False when the document has been deleted, cancelled or tried again in the meantime, or its knowledge base
        has moved to a space that it is not in; nothing happens then."""

    async def lacking(
        self, knowledge_base: KnowledgeBaseId, space: EmbeddingSpace, *, limit: int
    ) -> Sequence[tuple[DocumentId, int]]:
        """Ready documents that the index of that space has not got, oldest first, with their attempts."""

    async def begin_embedding(self, documents: Sequence[DocumentId], space: EmbeddingSpace) -> set[DocumentId]:
        """From now on there may be something of these ready documents in the index of that space. Return those of
        which there may have been something before."""

    async def mark_embedded(self, document: DocumentId, attempt: int, space: EmbeddingSpace) -> bool:
        """The index of that space has all of a ready document. False when it has been deleted in the meantime;
        nothing happens then."""

    async def mark_failed(self, document: DocumentId, reason: str) -> bool:
        """A pending document fails, and what was read of it is dropped. False when it is not pending."""

    async def cancel(self, owner: UserId, document: DocumentId, reason: str) -> bool:
        """The same at the wish of its owner. False when it is not pending, or not theirs."""

    async def bury(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> None:
        """Make a document a tombstone, however far it has come. Raises `DocumentNotFound`."""

    async def pending(self) -> Sequence[DocumentId]:
        """All that are to be read in, oldest first."""

    async def living(self, documents: Sequence[DocumentId]) -> set[DocumentId]:
        """Those of them that are pending or ready."""

    async def bury_failed(self, *, before: datetime) -> int:
        """Make tombstones of failed documents made before that time; return of how many."""

    async def tombstones(self) -> Sequence[DocumentId]:
        """Deleted documents."""

    async def forget(self, document: DocumentId) -> None:
        """Drop a tombstone and all that hangs on it; no error if there is none."""


def base_name(file_name: str) -> str:
    """The last component of an uploaded file's name, whatever system it came from. Raises `InvalidDocumentName`."""
    name = PureWindowsPath(PurePosixPath(file_name).name).name.strip()
    fits = 1 <= len(name) <= LONGEST_NAME and name not in {".", ".."}
    if not fits or has_control_characters(name) or not is_storable(name):
        raise InvalidDocumentName
    return name
