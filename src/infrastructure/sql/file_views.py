"""The views of files and vector stores."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    CompoundSelect,
    Integer,
    Text,
    and_,
    asc,
    bindparam,
    case,
    cast,
    desc,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    tuple_,
    union_all,
)

from llm_backend.application.ports.file_views import Slice
from llm_backend.domain.errors import (
    CursorNotFound,
    FileBatchNotFound,
    IngestionCancelled,
    KnowledgeBaseNotFound,
    StoredFileNotFound,
)
from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import DocumentState, KnowledgeBase
from llm_backend.domain.vector_stores import (
    FileBatch,
    FileCounts,
    FileStatus,
    StoreFile,
    StoreSettings,
    VectorStore,
    file_status,
)
from llm_backend.infrastructure.sql.deleted_places import FILE
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
from llm_backend.infrastructure.sql.places_in_stores import (
    OWNER,
    SHELF,
    last_place_of_file,
    place_of_file,
    place_of_store,
)
from llm_backend.infrastructure.sql.ports import Reader
from llm_backend.infrastructure.sql.rows import (
    DELETED,
    FAILED,
    deleted_places,
    documents,
    file_attachments,
    file_batch_documents,
    file_batches,
    files,
    knowledge_bases,
    vector_stores,
)
from llm_backend.infrastructure.sql.slices import check_neighbours, in_order, neighbours, slices, values_of, way_of
from llm_backend.infrastructure.sql.statements import Prepared, Query, Row

_FILE = bindparam("file", type_=Text)
_BATCH = bindparam("batch", type_=Text)

# Files ---------------------------------------------------------------------------------------------------------------

_NOW, _PURPOSE = bindparam("now", type_=UtcTime), bindparam("purpose", type_=Text)
_MADE, _AFTER = bindparam("made", type_=UtcTime), bindparam("after", type_=Text)
_LIMIT = bindparam("limit", type_=BigInteger)
_ASSISTANTS = literal_column(f"'{Purpose.ASSISTANTS.value}'", Text)
_IS_ATTACHED = exists().where(file_attachments.c.document_id == documents.c.id)

_UPLOADED = select(*FILE_COLUMNS).where(files.c.owner == OWNER)
_DOCUMENTS = select(
    documents.c.id,
    documents.c.owner,
    documents.c.name,
    _ASSISTANTS.label("purpose"),
    documents.c.size,
    documents.c.sha256,
    documents.c.created_at,
    cast(null(), UtcTime).label("expires_at"),
).where(documents.c.owner == OWNER, documents.c.state != DELETED, ~_IS_ATTACHED)


def _page(*, newest_first: bool, goes_on: bool) -> CompoundSelect[Any]:
    """Both kinds, each read from its index from where the page begins, and merged."""
    live = _UPLOADED.where(
        or_(files.c.expires_at.is_(None), files.c.expires_at > _NOW), or_(_PURPOSE == "", files.c.purpose == _PURPOSE)
    )
    meant = _DOCUMENTS.where(or_(_PURPOSE == "", _PURPOSE == _ASSISTANTS))
    if goes_on:
        last = tuple_(_MADE, _AFTER)
        file, document = tuple_(files.c.created_at, files.c.id), tuple_(documents.c.created_at, documents.c.id)
        live = live.where(file < last if newest_first else file > last)
        meant = meant.where(document < last if newest_first else document > last)
    ordered = desc if newest_first else asc
    return union_all(live, meant).order_by(ordered(text("created_at")), ordered(text("id"))).limit(_LIMIT)


_PAGES: Mapping[tuple[bool, bool], CompoundSelect[Any]] = {  # by whether the newest come first, and whether it goes on
    (newest, goes_on): _page(newest_first=newest, goes_on=goes_on)
    for newest in (True, False)
    for goes_on in (True, False)
}
# The file itself, and the one that a document was before it became that.
_FILE_OF_DOCUMENT = (
    select(file_attachments.c.file_id)
    .join(documents, documents.c.id == file_attachments.c.document_id)
    .where(documents.c.id == _FILE, documents.c.owner == OWNER, documents.c.state != DELETED)
    .scalar_subquery()
)
_BY_ID = union_all(
    _UPLOADED.where(files.c.id == _FILE),
    _UPLOADED.where(files.c.id == _FILE_OF_DOCUMENT),
    _DOCUMENTS.where(documents.c.id == _FILE),
)
_DELETED_FILE = select(func.max(deleted_places.c.made_at)).where(
    deleted_places.c.owner == OWNER, deleted_places.c.kind == FILE, deleted_places.c.id == _FILE
)

# Vector stores -------------------------------------------------------------------------------------------------------

_STORES = (
    select(*KNOWLEDGE_BASE_COLUMNS, *SETTINGS_COLUMNS)
    .outerjoin(vector_stores, vector_stores.c.knowledge_base_id == knowledge_bases.c.id)
    .where(knowledge_bases.c.owner == OWNER)
)
_ALL_STORES = _STORES.order_by(knowledge_bases.c.sequence.desc())
_STORE_PAGES = slices(_STORES, knowledge_bases.c.sequence, place_of_store)
_STORE_NEIGHBOURS = neighbours(place_of_store)
_ONE_STORE = _STORES.where(knowledge_bases.c.id == SHELF)
_MEMBERS = bindparam("members", type_=Text)
_COUNTS = (
    select(
        documents.c.knowledge_base_id,
        documents.c.state,
        documents.c.reason,
        func.count(),
        cast(func.sum(documents.c.size), BigInteger),
    )
    .where(IsMember(documents.c.knowledge_base_id, _MEMBERS), documents.c.state != DELETED)
    .group_by(documents.c.knowledge_base_id, documents.c.state, documents.c.reason)
)

# Files of a vector store ---------------------------------------------------------------------------------------------

_STORE_FILES = (
    select(*STORE_FILE_COLUMNS)
    .outerjoin(file_attachments, file_attachments.c.document_id == documents.c.id)
    .where(documents.c.knowledge_base_id == SHELF, documents.c.owner == OWNER, documents.c.state != DELETED)
)
_IN_BATCH = exists().where(
    file_batch_documents.c.batch_id == _BATCH, file_batch_documents.c.document_id == documents.c.id
)
_CANCELLED = literal_column(f"'{IngestionCancelled.code}'", Text)
_WAS_CANCELLED = case(
    (documents.c.reason == _CANCELLED, literal_column("1", Integer)), else_=literal_column("0", Integer)
)
_IS_SO_FAR = and_(
    documents.c.state == bindparam("state", type_=Text),
    or_(documents.c.state != FAILED, bindparam("cancelled", type_=Integer) == _WAS_CANCELLED),
)
_NEWEST_FIRST = documents.c.sequence.desc()
_ALL_STORE_FILES = _STORE_FILES.order_by(_NEWEST_FIRST)
_ALL_BATCH_FILES = _STORE_FILES.where(_IN_BATCH).order_by(_NEWEST_FIRST)
_FILE_PAGES = slices(_STORE_FILES, documents.c.sequence, last_place_of_file)
_FILE_PAGES_SO_FAR = slices(_STORE_FILES.where(_IS_SO_FAR), documents.c.sequence, last_place_of_file)
_BATCH_PAGES = slices(_STORE_FILES.where(_IN_BATCH), documents.c.sequence, last_place_of_file)
_BATCH_PAGES_SO_FAR = slices(_STORE_FILES.where(_IN_BATCH, _IS_SO_FAR), documents.c.sequence, last_place_of_file)
_PAGES_OF_FILES = {  # by whether they are those of a batch, and those that have come so far
    (False, False): _FILE_PAGES,
    (False, True): _FILE_PAGES_SO_FAR,
    (True, False): _BATCH_PAGES,
    (True, True): _BATCH_PAGES_SO_FAR,
}
_FILE_NEIGHBOURS = neighbours(last_place_of_file)
_ONE_STORE_FILE = _STORE_FILES.where(documents.c.sequence == place_of_file(_FILE))
_FILES_OF = _STORE_FILES.where(IsMember(documents.c.id, _MEMBERS))
_BATCH_ROW = select(*BATCH_COLUMNS).where(
    file_batches.c.id == _BATCH, file_batches.c.owner == OWNER, file_batches.c.knowledge_base_id == SHELF
)


class SqlFileViews:
    """`FileViews`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages = {way: reader.prepare(statement) for way, statement in _PAGES.items()}
        self._by_id = reader.prepare(_BY_ID)
        self._deleted_file = reader.prepare(_DELETED_FILE)
        self._stores = reader.prepare(_ALL_STORES)
        self._store_pages = {way: reader.prepare(statement) for way, statement in _STORE_PAGES.items()}
        self._store_neighbours = reader.prepare(_STORE_NEIGHBOURS)
        self._store = reader.prepare(_ONE_STORE)
        self._counts = reader.prepare(_COUNTS)
        self._store_files = reader.prepare(_ALL_STORE_FILES)
        self._batch_files = reader.prepare(_ALL_BATCH_FILES)
        self._file_pages = {
            (of_batch, so_far): {way: reader.prepare(statement) for way, statement in pages.items()}
            for (of_batch, so_far), pages in _PAGES_OF_FILES.items()
        }
        self._file_neighbours = reader.prepare(_FILE_NEIGHBOURS)
        self._store_file = reader.prepare(_ONE_STORE_FILE)
        self._files_of = reader.prepare(_FILES_OF)
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
            values |= {"made": await self._made_at(owner, after), "after": after}
        (found,) = await self._reader.fetch(Query(self._pages[newest_first, after is not None], values))
        return list(map(file_from, found))

    async def _made_at(self, owner: UserId, file: FileId) -> datetime:
        """Also of one that has been deleted. Raises `CursorNotFound`."""
        values = {"owner": owner, "file": file}
        (found,) = await self._reader.fetch(Query(self._by_id, values))
        if found:
            return file_from(found[0]).created_at
        (((made_at,),),) = await self._reader.fetch(Query(self._deleted_file, values))
        if not isinstance(made_at, datetime):
            raise CursorNotFound(param="after")
        return made_at

    async def file(self, owner: UserId, file: FileId) -> StoredFile:
        (found,) = await self._reader.fetch(Query(self._by_id, {"owner": owner, "file": file}))
        if not found:
            raise StoredFileNotFound
        return min(map(file_from, found), key=lambda one: one.id != file)

    async def vector_stores(self, owner: UserId, part: Slice[KnowledgeBaseId] | None = None) -> Sequence[VectorStore]:
        if part is None:
            (found,) = await self._reader.fetch(Query(self._stores, {"owner": owner}))
        else:
            statement, values = self._store_pages[way_of(part)], {"owner": owner, **values_of(part)}
            (found,) = await self._reader.fetch(Query(statement, values))
            if not found:
                await self._check(self._store_neighbours, values, part)
            found = in_order(found, part)
        counts = await self._counted([knowledge_base_from(row[: len(KNOWLEDGE_BASE_COLUMNS)]).id for row in found])
        return [_store_from(row, counts) for row in found]

    async def _check(self, places: Prepared, values: Mapping[str, object], part: Slice[Any]) -> None:
        """Whether a part is empty because of a neighbour that never was. Raises `CursorNotFound`."""
        if part.after is not None or part.before is not None:
            (found,) = await self._reader.fetch(Query(places, values))
            check_neighbours(found, part)

    async def _counted(self, shelves: Sequence[KnowledgeBaseId]) -> Sequence[Row]:
        if not shelves:
            return ()
        (counts,) = await self._reader.fetch(Query(self._counts, {"members": msgspec.json.encode(shelves).decode()}))
        return counts

    async def vector_store(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        members = msgspec.json.encode([knowledge_base]).decode()
        one, all_of_it = {"owner": owner, "shelf": knowledge_base}, {"members": members}
        shelf, counts = await self._reader.fetch(Query(self._store, one), Query(self._counts, all_of_it))
        if not shelf:
            raise KnowledgeBaseNotFound
        return _store_from(shelf[0], counts)

    async def store_files(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        part: Slice[FileId] | None = None,
        *,
        batch: FileBatchId | None = None,
        status: FileStatus | None = None,
    ) -> Sequence[StoreFile]:
        values = {"owner": owner, "shelf": knowledge_base, "batch": batch, **_so_far(status)}
        if part is None:
            statement = self._store_files if batch is None else self._batch_files
        else:
            statement = self._file_pages[batch is not None, status is not None][way_of(part)]
            values |= values_of(part)
        shelf, found = await self._reader.fetch(Query(self._store, values), Query(statement, values))
        if not shelf:
            raise KnowledgeBaseNotFound
        files = list(map(store_file_from, found))
        if part is None:
            return [file for file in files if status in {None, file.status}]
        if not files:
            await self._check(self._file_neighbours, values, part)
        return in_order(files, part)

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


def _so_far(status: FileStatus | None) -> Mapping[str, object]:
    match status:
        case None:
            return {}
        case FileStatus.IN_PROGRESS:
            return {"state": DocumentState.PENDING, "cancelled": 0}
        case FileStatus.COMPLETED:
            return {"state": DocumentState.READY, "cancelled": 0}
        case _:
            return {"state": DocumentState.FAILED, "cancelled": int(status is FileStatus.CANCELLED)}


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
