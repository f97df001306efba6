"""Valid things of the domain, of which a test states only what matters to it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from llm_backend.application.ports.answer_journal import Turn
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.domain.answers import Answer, AnswerState
from llm_backend.domain.api_keys import ApiKey
from llm_backend.domain.citations import Citation, Claim, Place, Source
from llm_backend.domain.conversations import Conversation, Message, MessageState, Role, TokenUsage
from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import (
    AnswerId,
    ApiKeyId,
    ConversationId,
    DocumentId,
    FileId,
    KnowledgeBaseId,
    ReindexingId,
    UserId,
)
from llm_backend.domain.knowledge import Chunk, Document, DocumentState, EmbeddingSpace, KnowledgeBase
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.reindexing import Reindexing, ReindexingState
from llm_backend.domain.secrets import SealedSecret
from llm_backend.domain.users import PasswordHash, Session, User

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_user(id: int = 1, username: str | None = None, *, token_version: int = 1) -> User:  # noqa: A002
    """User `n` is called `user-n`, unless told otherwise."""
    return User(
        id=UserId(id),
        username=username or f"user-{id}",
        password=PasswordHash(f"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaC{id}"),
        token_version=token_version,
        created_at=NOON,
    )


def a_session(user: int = 1, *, token_id: str = "token", token_version: int = 1) -> Session:
    """A token of that user, good for an hour from noon on."""
    return Session(
        user=UserId(user),
        token_id=token_id,
        token_version=token_version,
        issued_at=NOON,
        expires_at=NOON.replace(hour=13),
    )


def an_api_key(number: int = 1, *, owner: int = 1, name: str = "A key", expires_at: datetime | None = None) -> ApiKey:
    """A key without limits; its hash, which is none, tells its number."""
    return ApiKey(
        id=ApiKeyId(str(UUID(int=number, version=4))),
        owner=UserId(owner),
        name=name,
        prefix=f"sk-{number:0>8}",
        digest=number.to_bytes(32),
        created_at=NOON,
        expires_at=expires_at,
    )


def a_conversation(
    id: int = 10,  # noqa: A002
    *,
    owner: int = 1,
    title: str = "A title",
    model: str = "demo",
    api_key: SealedSecret | None = None,
    last_number: int = 0,
    created_at: datetime = NOON,
) -> Conversation:
    """An empty conversation."""
    return Conversation(
        id=ConversationId(id),
        owner=UserId(owner),
        title=title,
        model=model,
        api_key=api_key,
        last_number=last_number,
        created_at=created_at,
    )


def a_message(
    number: int = 1,
    text: str = "Hello",
    *,
    role: Role = Role.USER,
    state: MessageState = MessageState.COMPLETE,
    reason: str | None = None,
    model: str | None = None,
    usage: TokenUsage | None = None,
    citations: Sequence[Citation] = (),
    created_at: datetime = NOON,
) -> Message:
    """A user's complete message."""
    return Message(
        number=number,
        role=role,
        text=text,
        state=state,
        reason=reason,
        model=model,
        usage=usage,
        citations=tuple(citations),
        created_at=created_at,
    )


def a_reply(
    number: int = 2,
    text: str = "Hi",
    *,
    state: MessageState = MessageState.COMPLETE,
    reason: str | None = None,
    usage: TokenUsage | None = None,
    citations: Sequence[Citation] = (),
    created_at: datetime = NOON,
) -> Message:
    """An assistant's message, written by the model `demo`."""
    return a_message(
        number,
        text,
        role=Role.ASSISTANT,
        state=state,
        reason=reason,
        model="demo",
        usage=usage,
        citations=citations,
        created_at=created_at,
    )


def an_answer(
    id: int = 100,  # noqa: A002
    *,
    owner: int = 1,
    conversation: int = 10,
    number: int = 2,
    state: AnswerState = AnswerState.RUNNING,
) -> Answer:
    """A running answer to the first question of a conversation."""
    return Answer(
        id=AnswerId(id),
        owner=UserId(owner),
        conversation=ConversationId(conversation),
        number=number,
        state=state,
    )


def a_turn(
    answer: int = 100,
    *,
    owner: int = 1,
    conversation: int = 10,
    question: int = 1,
    text: str = "Hello",
    started_at: datetime = NOON,
    idempotency: IdempotencyKey | None = None,
    grounding: Grounding | None = None,
    key: ApiKeyId | None = None,
) -> Turn:
    """Question number `question` of a conversation, and the answer that is about to be written to it."""
    return Turn(
        question=a_message(question, text, created_at=started_at),
        answer=an_answer(answer, owner=owner, conversation=conversation, number=question + 1),
        started_at=started_at,
        idempotency=idempotency,
        grounding=grounding,
        key=key,
    )


def a_key(key: str = "key", fingerprint: str = "print") -> IdempotencyKey:
    """A client's Idempotency-Key."""
    return IdempotencyKey(key=key, fingerprint=fingerprint)


def a_citation(
    number: int = 1, *, document: str = "document-1", quote: str = "a quote", file: str | None = None
) -> Citation:
    """A verified citation from the top of a document's first page."""
    return Citation(
        number=number,
        document=DocumentId(document),
        document_name=f"{document}.txt",
        start=0,
        end=len(quote),
        page=1,
        headings=("Top",),
        quote=quote,
        verified=True,
        claims=(Claim(answer_start=1, answer_end=9, start=0, end=len(quote)),),
        file=None if file is None else FileId(file),
    )


def a_source(number: int = 1, *, document: str = "document-1", text: str = "a quote") -> Source:
    """A verified source from the top of a document's first page, under one heading."""
    return Source(
        number=number,
        document=DocumentId(document),
        document_name=f"{document}.txt",
        start=0,
        text=text,
        places=(Place(start=0, page=1, headings=("Top",)),),
        verified=True,
        score=0.5,
        file=FileId("file-1"),
        attributes={"year": 2024, "final": True},
    )


def a_knowledge_base(
    id: str = "shelf-1",  # noqa: A002
    *,
    owner: int = 1,
    name: str = "A shelf",
    space: EmbeddingSpace | None = None,
    created_at: datetime = NOON,
) -> KnowledgeBase:
    """An empty knowledge base with vectors of four dimensions."""
    return KnowledgeBase(
        id=KnowledgeBaseId(id),
        owner=UserId(owner),
        name=name,
        space=space or EmbeddingSpace(model="hash-4", dimensions=4),
        created_at=created_at,
    )


def a_document(
    id: str = "document-1",  # noqa: A002
    *,
    knowledge_base: str = "shelf-1",
    owner: int = 1,
    name: str | None = None,
    state: DocumentState = DocumentState.PENDING,
    attempt: int = 1,
    created_at: datetime = NOON,
    sha256: str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
    attributes: Attributes | None = None,
    replaces: bool = False,
) -> Document:
    """A small text file that is being read in."""
    return Document(
        id=DocumentId(id),
        knowledge_base=KnowledgeBaseId(knowledge_base),
        owner=UserId(owner),
        name=name or f"{id}.txt",
        file_type="txt",
        size=11,
        sha256=sha256,
        state=state,
        attempt=attempt,
        created_at=created_at,
        attributes=attributes or {},
        replaces=replaces,
    )


def a_file(
    id: str = "file-1",  # noqa: A002
    *,
    owner: int = 1,
    purpose: Purpose = Purpose.ASSISTANTS,
    created_at: datetime = NOON,
    expires_at: datetime | None = None,
) -> StoredFile:
    """A small file that stays until it is deleted."""
    return StoredFile(
        id=FileId(id),
        owner=UserId(owner),
        name=f"{id}.txt",
        purpose=purpose,
        size=11,
        sha256="b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
        created_at=created_at,
        expires_at=expires_at,
    )


def a_chunk(position: int = 0, text: str = "hello", *, start: int = 0) -> Chunk:
    """A chunk of a document that begins with `text`."""
    return Chunk(position=position, start=start, end=start + len(text), text=text, search_text=text)


def a_reindexing(
    id: str = "move-1",  # noqa: A002
    *,
    knowledge_base: str = "shelf-1",
    source: EmbeddingSpace | None = None,
    target: EmbeddingSpace | None = None,
    state: ReindexingState = ReindexingState.RUNNING,
    reason: str | None = None,
    ended_at: datetime | None = None,
) -> Reindexing:
    """A running move of `a_knowledge_base` to another model with vectors of four dimensions."""
    return Reindexing(
        id=ReindexingId(id),
        knowledge_base=KnowledgeBaseId(knowledge_base),
        source=source or EmbeddingSpace(model="hash-4", dimensions=4),
        target=target or EmbeddingSpace(model="better-4", dimensions=4),
        state=state,
        reason=reason,
        started_at=NOON,
        ended_at=ended_at,
    )
