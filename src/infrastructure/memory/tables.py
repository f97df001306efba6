"""What the in-memory store holds: dictionaries in the order of insertion, which is the order of lists."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from itertools import count
from typing import Any

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.answers import Answer
from llm_backend.domain.api_keys import ApiKey
from llm_backend.domain.conversations import Conversation, Message
from llm_backend.domain.files import Attachment, StoredFile
from llm_backend.domain.ids import (
    AnswerId,
    ApiKeyId,
    ConversationId,
    DocumentId,
    FileBatchId,
    FileId,
    KnowledgeBaseId,
    ReindexingId,
    UsageId,
    UserId,
    WriterId,
)
from llm_backend.domain.knowledge import Block, Document, EmbeddingSpace, KnowledgeBase, StoredChunk
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.reindexing import Reindexing
from llm_backend.domain.responses import ResponseRequest
from llm_backend.domain.usage import UsageRecord
from llm_backend.domain.users import User
from llm_backend.domain.vector_stores import FileBatch, StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    """An answer; once it has ended, when."""

    answer: Answer
    idempotency: IdempotencyKey | None
    ended_at: datetime | None = None
    grounding: Grounding | None = None
    writer: WriterId | None
    takeovers: int = 0
    stop_wanted: bool = False
    response: ResponseRequest | None = None
    started_at: datetime
    key: ApiKeyId | None = None

    def without_response(self) -> "AnswerRow":
        return replace(self, response=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRow:
    """The vectors of a document in one space, one per chunk if there are any; `complete`: the index has all of it."""

    vectors: tuple[bytes, ...] = ()
    statistics: bytes | None = None
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """A document with its text, its blocks, its chunks by position, and what there is of it in the spaces that it is
    in."""

    document: Document
    text: str
    chunks: tuple[StoredChunk, ...]
    embeddings: Mapping[EmbeddingSpace, EmbeddingRow]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch and the documents of it."""

    batch: FileBatch
    documents: frozenset[DocumentId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an idempotency key."""

    fingerprint: str
    outcome: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedPlace:
    """Where something was in a list: its number there, or, where lists go by time, when it was made. `noticed_at` is
    when the housekeeper came across it."""

    number: int | None = None
    made_at: datetime | None = None
    noticed_at: datetime | None = None


@dataclass(slots=True)
class Tables:
    """Rows are replaced and never changed, so that a copy need not go deeper than the dictionaries.

    `numbers` rise in the order in which things were added; none is given twice, also when it was not committed.

    Entities can be changed: copy them on the way in and on the way out.
    """

    users: dict[UserId, User] = field(default_factory=dict)
    revocations: dict[str, datetime] = field(default_factory=dict)
    api_keys: dict[ApiKeyId, ApiKey] = field(default_factory=dict)
    usage: dict[UsageId, UsageRecord] = field(default_factory=dict)
    conversations: dict[ConversationId, Conversation] = field(default_factory=dict)
    messages: dict[ConversationId, tuple[Message, ...]] = field(default_factory=dict)
    answers: dict[AnswerId, AnswerRow] = field(default_factory=dict)
    beats: dict[WriterId, int] = field(default_factory=dict)
    events: dict[AnswerId, tuple[NumberedEvent, ...]] = field(default_factory=dict)
    idempotency: dict[tuple[UserId, str], Outcome] = field(default_factory=dict)
    knowledge_bases: dict[KnowledgeBaseId, KnowledgeBase] = field(default_factory=dict)
    documents: dict[DocumentId, DocumentRow] = field(default_factory=dict)
    reindexings: dict[ReindexingId, Reindexing] = field(default_factory=dict)
    files: dict[FileId, StoredFile] = field(default_factory=dict)
    attachments: dict[DocumentId, Attachment] = field(default_factory=dict)
    store_settings: dict[KnowledgeBaseId, StoreSettings] = field(default_factory=dict)
    file_batches: dict[FileBatchId, BatchRow] = field(default_factory=dict)
    numbers: dict[ConversationId | KnowledgeBaseId | DocumentId, int] = field(default_factory=dict)
    deleted_places: dict[
        tuple[UserId, ConversationId | KnowledgeBaseId | FileId, KnowledgeBaseId | None], DeletedPlace
    ] = field(default_factory=dict)
    counter: Iterator[int] = field(default_factory=lambda: count(1))
    taken_over: dict[ConversationId, None] = field(default_factory=dict)

    def copy(self) -> "Tables":
        names = [table.name for table in fields(self) if table.name != "counter"]
        copies: dict[str, Any] = {name: dict(getattr(self, name)) for name in names}
        return replace(self, **copies)

    def number(self, added: ConversationId | KnowledgeBaseId | DocumentId) -> None:
        self.numbers[added] = next(self.counter)


@dataclass(slots=True)
class Place:
    """Where tables can be found: a commit puts others there."""

    tables: Tables = field(default_factory=Tables)


@dataclass(slots=True)
class Committed(Place):
    """What everybody sees. Whoever writes holds the lock; whoever reads does it in one go."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
