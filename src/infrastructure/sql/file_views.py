"""The views of files and vector stores."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    union_all,
)

from llm_backend.domain.errors import FileBatchNotFound, KnowledgeBaseNotFound, StoredFileNotFound
from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import DocumentState, KnowledgeBase
from llm_backend.domain.vector_stores import FileBatch, FileCounts, StoreFile, StoreSettings, VectorStore, file_status
from llm_backend.infrastructure.sql.dialects import IsMember, UtcTime
from llm_backend.infrastructure.sql.files_mapping import (
    BATCH_COLUMNS,
    FILE_COLUMNS,
    SETTINGS_COLUMNS,
    STORE_FILE_COLUMNS,
    batch_from,
    file_from,
    settings_from,
    store_file_from,
)
from llm_backend.infrastructure.sql.mapping import KNOWLEDGE_BASE_COLUMNS, knowledge_base_from
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.rows import (
    DELETED,
    documents,
    file_attachments,
    file_batch_documents,
    file_batches,
    files,
    knowledge_bases,
    vector_stores,
)
from llm_backend.infrastructure.sql.statements import Query, Row

_OWNER = bindparam("owner", type_=BigInteger)
_SHELF = bindparam("shelf", type_=Text)
_FILE = bindparam("file", type_=Text)
_BATCH = bindparam("batch", type_=Text)

# Files ---------------------------------------------------------------------------------------------------------------

_UPLOADED = select(*FILE_COLUMNS).where(files.c.owner == _OWNER)
_DOCUMENTS = select(
    documents.c.id,
    documents.c.owner,
    documents.c.name,
    literal_column(f"'{Purpose.ASSISTANTS.value}'", Text).label("purpose"),
    documents.c.size,
    documents.c.sha256,
    documents.c.created_at,
    cast(null(), UtcTime).label("expires_at"),
).where(
    documents.c.owner == _OWNER,
    documents.c.state != DELETED,
    ~exists().where(file_attachments.c.document_id == documents.c.id),
)
_either = union_all(_UPLOADED, _DOCUMENTS).subquery("either")
_ALL = select(*(_either.c[column.name] for column in FILE_COLUMNS))
_LIVE = _ALL.where(
    or_(_either.c.expires_at.is_(None), _either.c.expires_at > bindparam("now", type_=UtcTime)),
    or_(bindparam("purpose", type_=Text) == "", _either.c.purpose == bindparam("purpose", type_=Text)),
)
_MADE, _AFTER = bindparam("made", type_=UtcTime), bindparam("after", type_=Text)
_EARLIER = or_(_either.c.created_at < _MADE, and_(_either.c.created_at == _MADE, _either.c.id < _AFTER))
_LATER = or_(_either.c.created_at > _MADE, and_(_either.c.created_at == _MADE, _either.c.id > _AFTER))
_LIMIT = bindparam("limit", type_=BigInteger)
_NEWEST = (_either.c.created_at.desc(), _either.c.id.desc())
_OLDEST = (_either.c.created_at, _either.c.id)
_PAGES: Mapping[tuple[bool, bool], Select[Any]] = {  # by whether the newest come first, and whether it goes on
    (True, False): _LIVE.order_by(*_NEWEST).limit(_LIMIT),
    (True, True): _LIVE.where(_EARLIER).order_by(*_NEWEST).limit(_LIMIT),
    (False, False): _LIVE.order_by(*_OLDEST).limit(_LIMIT),
    (False, True): _LIVE.where(_LATER).order_by(*_OLDEST).limit(_LIMIT),
}
_FILE_OF_DOCUMENT = (
    select(file_attachments.c.file_id)
    .join(documents, documents.c.id == file_attachments.c.document_id)
    .where(documents.c.id == _FILE, documents.c.owner == _OWNER, documents.c.state != DELETED)
    .scalar_subquery()
)
_BY_ID = _ALL.where(or_(_either.c.id == _FILE, _either.c.id == _FILE_OF_DOCUMENT))

# Vector stores -------------------------------------------------------------------------------------------------------

_STORES = (
    select(*KNOWLEDGE_BASE_COLUMNS, *SETTINGS_COLUMNS)
    .outerjoin(vector_stores, vector_stores.c.knowledge_base_id == knowledge_bases.c.id)
    .where(knowledge_bases.c.owner == _OWNER)
    .order_by(knowledge_bases.c.sequence.desc())
)
_COUNTS = (
    select(
        documents.c.knowledge_base_id,
        documents.c.state,
        documents.c.reason,
        func.count(),
        cast(func.sum(documents.c.size), BigInteger),
    )
    .where(documents.c.owner == _OWNER, documents.c.state != DELETED, documents.c.knowledge_base_id.is_not(None))
    .group_by(documents.c.knowledge_base_id, documents.c.state, documents.c.reason)
)
_STORE_FILES = (
    select(*STORE_FILE_COLUMNS)
    .outerjoin(file_attachments, file_attachments.c.document_id == documents.c.id)
    .where(documents.c.knowledge_base_id == _SHELF, documents.c.owner == _OWNER, documents.c.state != DELETED)
    .order_by(documents.c.sequence.desc())
)
_IN_BATCH = exists().where(
    file_batch_documents.c.batch_id == _BATCH, file_batch_documents.c.document_id == documents.c.id
)
_IS_FILE = or_(file_attachments.c.file_id == _FILE, and_(file_attachments.c.file_id.is_(None), documents.c.id == _FILE))
_BATCH_ROW = select(*BATCH_COLUMNS).where(
    file_batches.c.id == _BATCH, file_batches.c.owner == _OWNER, file_batches.c.knowledge_base_id == _SHELF
)
_IS_MEMBER = IsMember(documents.c.id, bindparam("members", type_=Text))
_ONE_STORE = knowledge_bases.c.id == _SHELF


class SqlFileViews:
    """`FileViews`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages = {way: reader.prepare(statement) for way, statement in _PAGES.items()}
        self._by_id = reader.prepare(_BY_ID)
        self._stores = reader.prepare(_STORES)
        self._store = reader.prepare(_STORES.where(_ONE_STORE))
        self._counts = reader.prepare(_COUNTS)
        self._counts_of_one = reader.prepare(_COUNTS.where(documents.c.knowledge_base_id == _SHELF))
        self._store_files = reader.prepare(_STORE_FILES)
        self._batch_files = reader.prepare(_STORE_FILES.where(_IN_BATCH))
        self._store_file = reader.prepare(_STORE_FILES.where(_IS_FILE).limit(1))
        self._files_of = reader.prepare(_STORE_FILES.where(_IS_MEMBER))
        self._batch = reader.prepare(_BATCH_ROW)

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
        values = {"owner": owner, "now": now, "purpose": purpose.value if purpose else "", "limit": limit}
        if after is not None:
            (last,) = await self._reader.fetch(Query(self._by_id, {"owner": owner, "file": after}))
            if not last:
                return []
            values |= {"made": file_from(last[0]).created_at, "after": after}
        (found,) = await self._reader.fetch(Query(self._pages[newest_first, after is not None], values))
        return list(map(file_from, found))

    async def file(self, owner: UserId, file: FileId) -> StoredFile:
        (found,) = await self._reader.fetch(Query(self._by_id, {"owner": owner, "file": file}))
        if not found:
            raise StoredFileNotFound
        return min(map(file_from, found), key=lambda one: one.id != file)

    async def vector_stores(self, owner: UserId) -> Sequence[VectorStore]:
        values = {"owner": owner}
        shelves, counts = await self._reader.fetch(Query(self._stores, values), Query(self._counts, values))
        return [_store_from(row, counts) for row in shelves]

    async def vector_store(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        values = {"owner": owner, "shelf": knowledge_base}
        shelf, counts = await self._reader.fetch(Query(self._store, values), Query(self._counts_of_one, values))
        if not shelf:
            raise KnowledgeBaseNotFound
        return _store_from(shelf[0], counts)

    async def store_files(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, *, batch: FileBatchId | None = None
    ) -> Sequence[StoreFile]:
        values = {"owner": owner, "shelf": knowledge_base, "batch": batch}
        statement = self._store_files if batch is None else self._batch_files
        shelf, found = await self._reader.fetch(Query(self._store, values), Query(statement, values))
        if not shelf:
            raise KnowledgeBaseNotFound
        return list(map(store_file_from, found))

    async def store_file(self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId) -> StoreFile:
        values = {"owner": owner, "shelf": knowledge_base, "file": file}
        shelf, found = await self._reader.fetch(Query(self._store, values), Query(self._store_file, values))
        if not shelf:
            raise KnowledgeBaseNotFound
        if not found:
            raise StoredFileNotFound
        return store_file_from(found[0])

    async def files_of(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentId]
    ) -> Mapping[DocumentId, StoreFile]:
        members = msgspec.json.encode(documents).decode()
        values = {"owner": owner, "shelf": knowledge_base, "members": members}
        (found,) = await self._reader.fetch(Query(self._files_of, values))
        return {file.document.id: file for file in map(store_file_from, found)}

    async def batch(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> FileBatch:
        values = {"owner": owner, "shelf": knowledge_base, "batch": batch}
        (found,) = await self._reader.fetch(Query(self._batch, values))
        if not found:
            raise FileBatchNotFound
        return batch_from(found[0])


def _store_from(row: Row, counts: Sequence[Row]) -> VectorStore:
    columns, settings = row[: len(KNOWLEDGE_BASE_COLUMNS)], row[len(KNOWLEDGE_BASE_COLUMNS) :]
    base = knowledge_base_from(columns)
    theirs = [one for one in counts if one[0] == base.id]
    return VectorStore(
        base=base,
        settings=_settings_of(base, settings),
        counts=_counts_from(theirs),
        bytes_used=sum(size for _, state, _, _, size in theirs if state == DocumentState.READY),
    )


def _settings_of(base: KnowledgeBase, row: Row) -> StoreSettings:
    return StoreSettings(last_active_at=base.created_at) if row[0] is None else settings_from(row)


def _counts_from(rows: Sequence[Row]) -> FileCounts:
    numbers: dict[str, int] = {}
    for _, state, reason, number, _ in rows:
        status = file_status(DocumentState(state), reason).value
        numbers[status] = numbers.get(status, 0) + number
    return FileCounts(**numbers)
