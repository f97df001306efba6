"""Entities to rows and back, by hand.

`*_COLUMNS` say which columns a reader must select, in the order in which `*_from` expects them; the rows are plain
tuples, so that a fast reader serves as well as SQLAlchemy. `*_values` give the values of an insert.

Long because: it is a table, of which column is which field, for every entity there is.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, TypeAlias

import msgspec

from llm_backend.application.ports.answer_journal import Turn
from llm_backend.application.ports.answer_leases import OpenAnswer
from llm_backend.domain.answers import Answer, AnswerState
from llm_backend.domain.api_keys import ApiKey, Scope
from llm_backend.domain.conversations import (
    Conversation,
    ConversationSummary,
    Message,
    MessageState,
    Role,
    TokenUsage,
)
from llm_backend.domain.ids import AnswerId, ApiKeyId, ConversationId, DocumentId, KnowledgeBaseId, UserId, WriterId
from llm_backend.domain.knowledge import (
    Chunk,
    Document,
    DocumentState,
    DocumentSummary,
    EmbeddingSpace,
    KnowledgeBase,
    StoredChunk,
)
from llm_backend.domain.responses import Response
from llm_backend.domain.secrets import SealedSecret
from llm_backend.domain.usage import UsageRecord
from llm_backend.domain.users import PasswordHash, User
from llm_backend.infrastructure.codec.items import (
    items_from,
    items_value,
    metadata_from,
    metadata_value,
    request_from,
)
from llm_backend.infrastructure.codec.stored import (
    attributes_from,
    attributes_value,
    citations_from,
    citations_value,
    grounding_from,
    grounding_value,
    seams_from,
    seams_value,
)
from llm_backend.infrastructure.sql import rows

Row: TypeAlias = Sequence[Any]
Values: TypeAlias = Mapping[str, Any]


_decode_headings = msgspec.json.Decoder(tuple[str, ...]).decode

# Members are looked up for every row; a dictionary costs a tenth of what calling the enumeration does.
_ROLES = {role.value: role for role in Role}
_MESSAGE_STATES = {state.value: state for state in MessageState}

# Accounts ------------------------------------------------------------------------------------------------------------

USER_COLUMNS = (
    rows.users.c.id,
    rows.users.c.username,
    rows.users.c.password,
    rows.users.c.token_version,
    rows.users.c.created_at,
)


def user_from(row: Row) -> User:
    id_, username, password, token_version, created_at = row
    return User(
        id=UserId(id_),
        username=username,
        password=PasswordHash(password),
        token_version=token_version,
        created_at=created_at,
    )


def user_values(user: User) -> Values:
    return {
        "id": user.id,
        "username": user.username,
        "password": user.password.phc,
        "token_version": user.token_version,
        "created_at": user.created_at,
    }


# API keys ------------------------------------------------------------------------------------------------------------

API_KEY_COLUMNS = (
    rows.api_keys.c.id,
    rows.api_keys.c.owner,
    rows.api_keys.c.name,
    rows.api_keys.c.prefix,
    rows.api_keys.c.digest,
    rows.api_keys.c.scopes,
    rows.api_keys.c.created_at,
    rows.api_keys.c.expires_at,
    rows.api_keys.c.last_used_at,
)


def api_key_from(row: Row) -> ApiKey:
    id_, owner, name, prefix, digest, scopes, created_at, expires_at, last_used_at = row
    return ApiKey(
        id=ApiKeyId(id_),
        owner=UserId(owner),
        name=name,
        prefix=prefix,
        digest=digest,
        scopes=frozenset(map(Scope, scopes.split())),
        created_at=created_at,
        expires_at=expires_at,
        last_used_at=last_used_at,
    )


def api_key_values(key: ApiKey) -> Values:
    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "prefix": key.prefix,
        "digest": key.digest,
        "scopes": " ".join(sorted(key.scopes)),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


# Usage ---------------------------------------------------------------------------------------------------------------


def usage_values(record: UsageRecord) -> Values:
    return {
        "id": record.id,
        "owner": record.owner,
        "at": record.at,
        "day": record.at.astimezone(UTC).date().isoformat(),
        "kind": record.kind.value,
        "model": record.model,
        "prompt_tokens": record.tokens.prompt,
        "completion_tokens": record.tokens.completion,
        "is_estimated": record.is_estimated,
        "cost": record.cost,
        "key_id": record.key,
        "conversation_id": record.conversation,
    }


# Conversations and answers -------------------------------------------------------------------------------------------

CONVERSATION_COLUMNS = (
    rows.conversations.c.id,
    rows.conversations.c.owner,
    rows.conversations.c.title,
    rows.conversations.c.model,
    rows.conversations.c.api_key_id,
    rows.conversations.c.api_key,
    rows.conversations.c.last_number,
    rows.conversations.c.listed,
    rows.conversations.c.metadata,
    rows.conversations.c.created_at,
)

SUMMARY_COLUMNS = (rows.conversations.c.id, rows.conversations.c.title, rows.conversations.c.created_at)

MESSAGE_COLUMNS = (
    rows.messages.c.number,
    rows.messages.c.role,
    rows.messages.c.text,
    rows.messages.c.state,
    rows.messages.c.reason,
    rows.messages.c.model,
    rows.messages.c.prompt_tokens,
    rows.messages.c.completion_tokens,
    rows.messages.c.cached_tokens,
    rows.messages.c.reasoning_tokens,
    rows.messages.c.citations,
    rows.messages.c.seams,
    rows.messages.c.content,
    rows.messages.c.created_at,
)

# An answer's owner is its conversation's.
ANSWER_COLUMNS = (
    rows.answers.c.id,
    rows.conversations.c.owner,
    rows.answers.c.conversation_id,
    rows.answers.c.number,
    rows.answers.c.state,
)


def conversation_from(row: Row) -> Conversation:
    id_, owner, title, model, api_key_id, api_key, last_number, listed, metadata, created_at = row
    return Conversation(
        id=ConversationId(id_),
        owner=UserId(owner),
        title=title,
        model=model,
        api_key=None if api_key_id is None else SealedSecret(key_id=api_key_id, sealed=api_key),
        last_number=last_number,
        listed=bool(listed),
        metadata={} if metadata is None else metadata_from(metadata),
        created_at=created_at,
    )


def conversation_values(conversation: Conversation) -> Values:
    api_key = conversation.api_key
    return {
        "id": conversation.id,
        "owner": conversation.owner,
        "title": conversation.title,
        "model": conversation.model,
        "api_key_id": api_key and api_key.key_id,
        "api_key": api_key and api_key.sealed,
        "last_number": conversation.last_number,
        "listed": conversation.listed,
        "metadata": metadata_value(conversation.metadata) if conversation.metadata else None,
        "created_at": conversation.created_at,
    }


def summary_from(row: Row) -> ConversationSummary:
    return ConversationSummary(id=row[0], title=row[1], created_at=row[2])


def message_from(row: Row) -> Message:
    number, role, text, state, reason, model, *counts, citations, seams, content, created_at = row
    return Message(
        number=number,
        role=_ROLES[role],
        text=text,
        state=_MESSAGE_STATES[state],
        reason=reason,
        model=model,
        usage=_usage_from(*counts),
        citations=() if citations is None else citations_from(citations),
        seams=() if seams is None else seams_from(seams),
        items=() if content is None else items_from(content),
        created_at=created_at,
    )


def _usage_from(prompt: int | None, completion: int, cached: int | None, reasoning: int | None) -> TokenUsage | None:
    if prompt is None:
        return None
    return TokenUsage(prompt=prompt, completion=completion, cached=cached or 0, reasoning=reasoning or 0)


def message_values(message: Message) -> Values:
    usage = message.usage
    return {
        "number": message.number,
        "role": message.role.value,
        "text": message.text,
        "state": message.state.value,
        "reason": message.reason,
        "model": message.model,
        "prompt_tokens": usage and usage.prompt,
        "completion_tokens": usage and usage.completion,
        "cached_tokens": usage and usage.cached,
        "reasoning_tokens": usage and usage.reasoning,
        "citations": citations_value(message.citations) if message.citations else None,
        "seams": seams_value(message.seams) if message.seams else None,
        "content": items_value(message.items) if message.items else None,
        "created_at": message.created_at,
    }


def answer_from(row: Row) -> Answer:
    id_, owner, conversation, number, state = row
    return Answer(
        id=AnswerId(id_),
        owner=UserId(owner),
        conversation=ConversationId(conversation),
        number=number,
        state=AnswerState(state),
    )


def answer_values(turn: Turn) -> Values:
    answer = turn.answer
    return {
        "id": answer.id,
        "conversation_id": answer.conversation,
        "number": answer.number,
        "state": answer.state.value,
        "started_at": turn.started_at,
        "takeovers": 0,
        "stop_wanted": False,
        "grounding": grounding_value(turn.grounding) if turn.grounding else None,
        "key_id": turn.key,
    }


OPEN_ANSWER_COLUMNS = (
    *ANSWER_COLUMNS,
    rows.conversations.c.model,
    rows.answers.c.writer,
    rows.answers.c.takeovers,
    rows.answers.c.stop_wanted,
    rows.answers.c.grounding,
    rows.answers.c.key_id,
)


def open_answer_from(row: Row) -> OpenAnswer:
    *answer, model, writer, takeovers, stop_wanted, grounding, key = row
    return OpenAnswer(
        answer=answer_from(answer),
        model=model,
        writer=None if writer is None else WriterId(writer),
        takeovers=takeovers,
        wanted_to_stop=bool(stop_wanted),
        grounding=None if grounding is None else grounding_from(grounding),
        key=None if key is None else ApiKeyId(key),
    )


RESPONSE_COLUMNS = (
    *ANSWER_COLUMNS,
    rows.conversations.c.listed,
    rows.answers.c.started_at,
    rows.answers.c.grounding,
    rows.responses.c.previous,
    rows.responses.c.request,
)


def response_from(row: Row) -> Response:
    """Of a row with `RESPONSE_COLUMNS`, then the columns of its question, then those of its reply."""
    *answer, listed, started_at, grounding, previous, request = row[: len(RESPONSE_COLUMNS)]
    said = row[len(RESPONSE_COLUMNS) :]
    reply = said[len(MESSAGE_COLUMNS) :]
    return Response(
        answer=answer_from(answer),
        request=request_from(request, previous),
        in_conversation=bool(listed),
        question=message_from(said[: len(MESSAGE_COLUMNS)]),
        reply=None if reply[0] is None else message_from(reply),
        sources=() if grounding is None else grounding_from(grounding).sources,
        started_at=started_at,
    )


# Knowledge -----------------------------------------------------------------------------------------------------------

KNOWLEDGE_BASE_COLUMNS = (
    rows.knowledge_bases.c.id,
    rows.knowledge_bases.c.owner,
    rows.knowledge_bases.c.name,
    rows.knowledge_bases.c.embedding_model,
    rows.knowledge_bases.c.dimensions,
    rows.knowledge_bases.c.created_at,
)

DOCUMENT_COLUMNS = (
    rows.documents.c.id,
    rows.documents.c.knowledge_base_id,
    rows.documents.c.owner,
    rows.documents.c.name,
    rows.documents.c.file_type,
    rows.documents.c.size,
    rows.documents.c.sha256,
    rows.documents.c.state,
    rows.documents.c.attempt,
    rows.documents.c.created_at,
    rows.documents.c.reason,
    rows.documents.c.attributes,
    rows.documents.c.replaces,
    rows.documents.c.readable_attempt,
)

DOCUMENT_SUMMARY_COLUMNS = (
    rows.documents.c.id,
    rows.documents.c.knowledge_base_id,
    rows.documents.c.name,
    rows.documents.c.file_type,
    rows.documents.c.attributes,
)


def knowledge_base_from(row: Row) -> KnowledgeBase:
    id_, owner, name, model, dimensions, created_at = row
    return KnowledgeBase(
        id=KnowledgeBaseId(id_),
        owner=UserId(owner),
        name=name,
        space=EmbeddingSpace(model=model, dimensions=dimensions),
        created_at=created_at,
    )


def knowledge_base_values(knowledge_base: KnowledgeBase) -> Values:
    return {
        "id": knowledge_base.id,
        "owner": knowledge_base.owner,
        "name": knowledge_base.name,
        "embedding_model": knowledge_base.space.model,
        "dimensions": knowledge_base.space.dimensions,
        "created_at": knowledge_base.created_at,
    }


def document_from(row: Row) -> Document:
    id_, knowledge_base, owner, name, file_type, size, sha256, state, attempt, created_at, reason, *more = row
    attributes, replaces, readable_attempt = more
    return Document(
        id=DocumentId(id_),
        knowledge_base=KnowledgeBaseId(knowledge_base or ""),
        owner=UserId(owner),
        name=name,
        file_type=file_type,
        size=size,
        sha256=sha256,
        state=DocumentState(state),
        attempt=attempt,
        readable_attempt=readable_attempt,
        reason=reason,
        created_at=created_at,
        attributes=attributes_from(attributes),
        replaces=bool(replaces),
    )


def document_values(document: Document) -> Values:
    return {
        "id": document.id,
        "knowledge_base_id": document.knowledge_base,
        "owner": document.owner,
        "name": document.name,
        "file_type": document.file_type,
        "size": document.size,
        "sha256": document.sha256,
        "state": document.state.value,
        "attempt": document.attempt,
        "readable_attempt": document.readable_attempt,
        "created_at": document.created_at,
        "reason": document.reason,
        "attributes": attributes_value(document.attributes),
        "replaces": document.replaces,
    }


def document_summary_from(row: Row) -> DocumentSummary:
    id_, shelf, name, file_type, attributes = row
    known = attributes_from(attributes)
    return DocumentSummary(id=id_, knowledge_base=shelf, name=name, file_type=file_type, attributes=known)


def text_values(document: DocumentId, text: str) -> list[Values]:
    """One set for each part of the text."""
    return [
        {"document_id": document, "part": part, "text": text[start : start + rows.TEXT_PART]}
        for part, start in enumerate(range(0, len(text), rows.TEXT_PART))
    ]


CHUNK_COLUMNS = (
    rows.chunks.c.position,
    rows.chunks.c.start,
    rows.chunks.c.end,
    rows.chunks.c.text,
    rows.chunks.c.headings,
    rows.chunks.c.page,
    rows.chunks.c.sheet,
    rows.chunks.c.search_text,
)

STORED_CHUNK_COLUMNS = (
    rows.documents.c.knowledge_base_id,
    rows.FOUND_ATTEMPT,
    rows.chunks.c.document_id,
    *CHUNK_COLUMNS,
    rows.vectors.c.vector,
)


def chunk_values(document: DocumentId, chunk: Chunk) -> Values:
    return {
        "document_id": document,
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "headings": msgspec.json.encode(chunk.headings).decode() if chunk.headings else None,
        "page": chunk.page,
        "sheet": chunk.sheet,
        "search_text": chunk.search_text,
    }


def chunk_from(row: Row) -> Chunk:
    position, start, end, text, headings, page, sheet, search_text = row
    return Chunk(
        position=position,
        start=start,
        end=end,
        text=text,
        headings=() if headings is None else _decode_headings(headings),
        page=page,
        sheet=sheet,
        search_text=search_text,
    )


def stored_chunk_from(row: Row) -> StoredChunk:
    knowledge_base, attempt, document, *chunk, vector = row
    return StoredChunk(
        knowledge_base=KnowledgeBaseId(knowledge_base),
        document=DocumentId(document),
        attempt=attempt,
        chunk=chunk_from(chunk),
        vector=vector,
    )
