"""Files, attachments and vector stores to rows and back, as `mapping` does it."""

from datetime import timedelta

import msgspec

from llm_backend.domain.files import Attachment, Chunking, Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.vector_stores import FileBatch, StoreFile, StoreSettings
from llm_backend.infrastructure.sql import rows
from llm_backend.infrastructure.sql.mapping import DOCUMENT_COLUMNS, Row, Values, document_from

_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode

FILE_COLUMNS = (
    rows.files.c.id,
    rows.files.c.owner,
    rows.files.c.name,
    rows.files.c.purpose,
    rows.files.c.size,
    rows.files.c.sha256,
    rows.files.c.created_at,
    rows.files.c.expires_at,
)
ATTACHMENT_COLUMNS = (
    rows.file_attachments.c.document_id,
    rows.file_attachments.c.file_id,
    rows.file_attachments.c.longest,
    rows.file_attachments.c.overlap,
)
SETTINGS_COLUMNS = (
    rows.vector_stores.c.metadata,
    rows.vector_stores.c.description,
    rows.vector_stores.c.expires_after,
    rows.vector_stores.c.last_active_at,
)
BATCH_COLUMNS = (
    rows.file_batches.c.id,
    rows.file_batches.c.owner,
    rows.file_batches.c.knowledge_base_id,
    rows.file_batches.c.created_at,
    rows.file_batches.c.is_cancelled,
)
STORE_FILE_COLUMNS = (*DOCUMENT_COLUMNS, *ATTACHMENT_COLUMNS[1:])


def file_from(row: Row) -> StoredFile:
    id_, owner, name, purpose, size, sha256, created_at, expires_at = row
    return StoredFile(
        id=FileId(id_),
        owner=UserId(owner),
        name=name,
        purpose=Purpose(purpose),
        size=size,
        sha256=sha256,
        created_at=created_at,
        expires_at=expires_at,
    )


def file_values(file: StoredFile) -> Values:
    return {
        "id": file.id,
        "owner": file.owner,
        "name": file.name,
        "purpose": file.purpose.value,
        "size": file.size,
        "sha256": file.sha256,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
    }


def attachment_from(row: Row) -> Attachment:
    document, file, longest, overlap = row
    return Attachment(document=DocumentId(document), file=FileId(file), chunking=_chunking(longest, overlap))


def attachment_values(attachment: Attachment) -> Values:
    chunking = attachment.chunking
    return {
        "document_id": attachment.document,
        "file_id": attachment.file,
        "longest": chunking and chunking.longest,
        "overlap": chunking and chunking.overlap,
    }


def store_file_from(row: Row) -> StoreFile:
    *columns, file, longest, overlap = row
    document = document_from(columns)
    return StoreFile(file=FileId(file or document.id), document=document, chunking=_chunking(longest, overlap))


def settings_from(row: Row) -> StoreSettings:
    metadata, description, expires_after, last_active_at = row
    return StoreSettings(
        metadata=_decode_metadata(metadata),
        description=description,
        expires_after=None if expires_after is None else timedelta(seconds=expires_after),
        last_active_at=last_active_at,
    )


def settings_values(settings: StoreSettings) -> Values:
    life = settings.expires_after
    return {
        "metadata": msgspec.json.encode(settings.metadata).decode(),
        "description": settings.description,
        "expires_after": None if life is None else int(life.total_seconds()),
        "last_active_at": settings.last_active_at,
    }


def batch_from(row: Row) -> FileBatch:
    id_, owner, knowledge_base, created_at, is_cancelled = row
    return FileBatch(
        id=FileBatchId(id_),
        owner=UserId(owner),
        knowledge_base=KnowledgeBaseId(knowledge_base),
        created_at=created_at,
        is_cancelled=bool(is_cancelled),
    )


def batch_values(batch: FileBatch) -> Values:
    return {
        "id": batch.id,
        "owner": batch.owner,
        "knowledge_base_id": batch.knowledge_base,
        "created_at": batch.created_at,
        "is_cancelled": batch.is_cancelled,
    }


def _chunking(longest: int | None, overlap: int | None) -> Chunking | None:
    return None if longest is None or overlap is None else Chunking(longest=longest, overlap=overlap)
