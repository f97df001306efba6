"""Ids under `/v1`: those of `/api`, behind a prefix that says of what.

What cannot be such an id is the id of nothing: the functions return None, and the caller says what was not found; or
they say so themselves.
"""

from uuid import UUID

from llm_backend.domain.errors import FileBatchNotFound, KnowledgeBaseNotFound, StoredFileNotFound
from llm_backend.domain.ids import FileBatchId, FileId, KnowledgeBaseId
from llm_backend.interface.http.requests import parsed_id

RESPONSE = "resp_"
MESSAGE = "msg_"
FUNCTION_CALL = "fc_"
FILE_SEARCH_CALL = "fs_"
CONVERSATION = "conv_"
VECTOR_STORE = "vs_"
FILE = "file-"
FILE_BATCH = "vsfb_"
COMPLETION = "chatcmpl-"
NO_FILE, NO_STORE = FileId(""), KnowledgeBaseId("")  # which nothing has


def vector_store_in(text: str) -> KnowledgeBaseId:
    """Raises `KnowledgeBaseNotFound`."""
    uuid = uuid_in(VECTOR_STORE, text)
    if uuid is None:
        raise KnowledgeBaseNotFound
    return KnowledgeBaseId(uuid)


def file_in(text: str) -> FileId:
    """Raises `StoredFileNotFound`."""
    uuid = uuid_in(FILE, text)
    if uuid is None:
        raise StoredFileNotFound
    return FileId(uuid)


def batch_in(text: str) -> FileBatchId:
    """Raises `FileBatchNotFound`."""
    uuid = uuid_in(FILE_BATCH, text)
    if uuid is None:
        raise FileBatchNotFound
    return FileBatchId(uuid)


def numbered_id(prefix: str, number: int) -> str:
    """`conv_123`: for what has a number, such as conversations and answers."""
    return f"{prefix}{number}"


def number_in(prefix: str, text: str) -> int | None:
    return parsed_id(text.removeprefix(prefix)) if text.startswith(prefix) else None


def uuid_id(prefix: str, uuid: str) -> str:
    """`vs_0f5c…`: for what has a UUID, such as knowledge bases and documents."""
    return prefix + uuid.replace("-", "")


def uuid_in(prefix: str, text: str) -> str | None:
    """In the form that the domain knows: with hyphens. Only one spelling of an id is the id."""
    digits = text.removeprefix(prefix)
    if not text.startswith(prefix) or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return str(UUID(digits))
