"""Reading without a unit of work: what screens show and what an answer starts from.

Each view is one consistent look at what has been committed; nothing of somebody else's is ever in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_backend.domain.conversations import ConversationSummary, Thread
from llm_backend.domain.ids import ConversationId, DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Chunk,
    DocumentStatus,
    DocumentSummary,
    EmbeddingSpace,
    Excerpt,
    KnowledgeBase,
    StoredChunk,
)
from llm_backend.domain.reindexing import ReindexingStatus

LARGEST_NUMBER = 2**31 - 1  # of a message


class ConversationViews(Protocol):
    """Conversations to look at."""

    async def summaries(
        self, owner: UserId, *, limit: int | None = None, before: ConversationId | None = None
    ) -> Sequence[ConversationSummary]:
        """Newest first, those made before `before` if it is given, which may have been deleted meanwhile. Raises
        `CursorNotFound` when it never was."""

    async def thread(
        self, owner: UserId, conversation: ConversationId, *, limit: int | None = None, unlisted: bool = False
    ) -> Thread:
        """The newest `limit` messages (at least 1), oldest first. Raises `ConversationNotFound`, also for one that
        belongs to a single response, unless `unlisted` is set."""

    async def stretch(
        self,
        owner: UserId,
        conversation: ConversationId,
        *,
        first: int = 0,
        last: int = LARGEST_NUMBER,
        limit: int,
        newest_first: bool = False,
        unlisted: bool = False,
    ) -> Thread:
        """At most `limit` messages (at least 1) of those that are numbered `first` to `last`, beginning with the oldest
        or the newest. Raises the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindableDocument:
    """The name of a document that may be shown, and the attempt whose passages count. `by_words_alone`: it is not ready
    yet, and its passages have no vectors."""

    name: str
    attempt: int
    by_words_alone: bool = False


class KnowledgeViews(Protocol):
    """Knowledge bases to look at. Documents that are not ready are in none of these views, except `document`, and those
    that are readable in `findable`, `quotation`, `chunk_counts` and `chunks`."""

    async def knowledge_bases(self, owner: UserId) -> Sequence[KnowledgeBase]:
        """Oldest first."""

    async def knowledge_base(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> KnowledgeBase:
        """Raises `KnowledgeBaseNotFound`."""

    async def documents(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> Sequence[DocumentSummary]:
        """Oldest first. Raises `KnowledgeBaseNotFound`."""

    async def document(self, owner: UserId, document: DocumentId) -> DocumentStatus:
        """One that is being read in, ready, or failed; its step is what can be told without its job. Raises
        `DocumentNotFound`."""

    async def findable(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentId]
    ) -> Mapping[DocumentId, FindableDocument]:
        """Those of `documents` that are ready, or readable; whatever an index finds is looked up here before it is
        shown."""

    async def quotation(self, owner: UserId, document: DocumentId, start: int, end: int) -> str | None:
        """That part of a ready or readable document's text, or None if there is no such document."""

    async def excerpt(self, owner: UserId, document: DocumentId, start: int, end: int) -> Excerpt:
        """Characters `start` to `end` of a ready document's text, or as many of them as it has. Raises
        `DocumentNotFound`."""

    async def document_chunks(
        self, owner: UserId, document: DocumentId, *, after: int = -1, limit: int
    ) -> Sequence[Chunk]:
        """The first `limit` chunks of a ready document behind position `after`, in order. Raises
        `DocumentNotFound`."""

    async def statistics_stamp(self, knowledge_base: KnowledgeBaseId) -> str:
        """Another text, all but certainly, whenever the ready documents have become others: cheap, to cache by."""

    async def statistics(
        self, knowledge_base: KnowledgeBaseId, space: EmbeddingSpace, *, limit: int = 200
    ) -> Sequence[bytes]:
        """What the embedder of that space remembered of the newest `limit` ready documents that it remembered
        something of."""

    async def spaces(self) -> Sequence[EmbeddingSpace]:
        """Every space that a knowledge base is in or a document has been embedded in, each once."""

    async def chunk_counts(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        """How many chunks each document of everybody has that is ready and has been embedded in that space, or that is
        readable there, by document and attempt: what an index should hold."""

    async def chunks(
        self, space: EmbeddingSpace, *, after: tuple[DocumentId, int] | None = None, limit: int = 1000
    ) -> Sequence[StoredChunk]:
        """All chunks of these documents, with their vectors if they have some, ordered by document and position, page
        after page: for rebuilding an index."""

    async def chunks_of(self, document: DocumentId) -> Sequence[StoredChunk]:
        """All chunks of a ready document by position, without vectors: for embedding them anew."""

    async def reindexing(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> ReindexingStatus:
        """The last one. Raises `KnowledgeBaseNotFound` or `ReindexingNotFound`."""
