"""`/v1/vector_stores/…/files`: the documents of a knowledge base as files of a vector store."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from llm_backend.application.store_files import (
    AttachFiles,
    DescribeStoreFile,
    DetachFile,
    FindStoreFile,
    ListStoreFiles,
    ReadStoreFile,
    ToAttach,
)
from llm_backend.application.uploads import failure_of
from llm_backend.domain.api_keys import Scope
from llm_backend.domain.errors import DomainError, Invalid, Unsupported
from llm_backend.domain.files import USUAL_CHUNKING, Chunking
from llm_backend.domain.vector_stores import FileStatus, StoreFile
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.documentation import openai_failures
from llm_backend.interface.http.openai.ids import FILE, NO_FILE, VECTOR_STORE, file_in, uuid_id, vector_store_in
from llm_backend.interface.http.openai.lists import Page, PageQuery, page_query, slice_of, sliced_page
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai.vector_stores import ChunkingIn, ContentOut, ValueOut, chunking_in
from llm_backend.interface.http.rest.parameters import Asked, Body

TAGS = ["OpenAI"]

StatusQuery = Annotated[FileStatus | None, QueryParameter()]


class AttachIn(msgspec.Struct):
    """A file to attach. Without `attributes`, one that is there already keeps those it has."""

    file_id: str
    attributes: dict[str, ValueOut] | None = None
    chunking_strategy: ChunkingIn | None = None


class StoreFileAttributesIn(msgspec.Struct):
    attributes: dict[str, ValueOut] | None


class LastErrorOut(msgspec.Struct):
    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class ChunkSizesOut(msgspec.Struct):
    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class ChunkingOut(msgspec.Struct):
    static: ChunkSizesOut
    type: Literal["static"] = "static"


class StoreFileOut(msgspec.Struct):
    """`last_error` is there when it has failed."""

    id: str
    vector_store_id: str
    created_at: int
    usage_bytes: int
    status: FileStatus
    last_error: LastErrorOut | None
    chunking_strategy: ChunkingOut
    attributes: dict[str, ValueOut]
    object: Literal["vector_store.file"] = "vector_store.file"


class StoreFileDeletedOut(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"


class FileTextOut(msgspec.Struct):
    """The text that was read from a file, in one piece."""

    file_id: str
    filename: str
    attributes: dict[str, ValueOut]
    data: list[ContentOut]
    has_more: bool = False
    next_page: None = None
    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"


class StoreFilesController(Controller):
    path = "/vector_stores/{vector_store_id:str}/files"
    security = SIGNED_IN
    tags = TAGS
    opt: Any = good_for(Scope.FILES)

    @post("/", status_code=200, operation_class=RepeatableOperation, responses=openai_failures(404, 409, 413, 507))
    async def attach(
        self,
        vector_store_id: FromPath[str],
        data: Body[AttachIn],
        attach_files: Asked[AttachFiles],
        request: OpenAiRequest,
    ) -> StoreFileOut:
        """Attach a file, which is read in afterwards. One that is there already stays as it is, so that a repeated
        request does no harm."""
        store = vector_store_in(vector_store_id)
        repeated = idempotency(request.scope, data)
        return store_file_out(await attach_files(request.owner, store, to_attach(data), idempotency=repeated))

    @get("/", dependencies={"page": page_query()}, responses=openai_failures(404))
    async def list_all(
        self,
        vector_store_id: FromPath[str],
        list_store_files: Asked[ListStoreFiles],
        request: OpenAiRequest,
        page: NamedDependency[PageQuery],
        filter: StatusQuery = None,  # noqa: A002 - the parameter is called so
    ) -> Page[StoreFileOut]:
        """The files of a vector store, however far they have come."""
        store = vector_store_in(vector_store_id)
        found = await list_store_files(request.owner, store, slice_of(page, file_in, nothing=NO_FILE), status=filter)
        return store_files_page(found, page)

    @get("/{file_id:str}", responses=openai_failures(404))
    async def find(
        self,
        vector_store_id: FromPath[str],
        file_id: FromPath[str],
        find_store_file: Asked[FindStoreFile],
        request: OpenAiRequest,
    ) -> StoreFileOut:
        """One file of a vector store, and how far it has come."""
        store = vector_store_in(vector_store_id)
        return store_file_out(await find_store_file(request.owner, store, file_in(file_id)))

    @post("/{file_id:str}", status_code=200, responses=openai_failures(404, 413, 507))
    async def describe(
        self,
        vector_store_id: FromPath[str],
        file_id: FromPath[str],
        data: Body[StoreFileAttributesIn],
        describe_store_file: Asked[DescribeStoreFile],
        request: OpenAiRequest,
    ) -> StoreFileOut:
        """Give a file other attributes, in place of those it has."""
        store, file = vector_store_in(vector_store_id), file_in(file_id)
        return store_file_out(await describe_store_file(request.owner, store, file, data.attributes or {}))

    @delete("/{file_id:str}", status_code=200, responses=openai_failures(404, 507))
    async def detach(
        self,
        vector_store_id: FromPath[str],
        file_id: FromPath[str],
        detach_file: Asked[DetachFile],
        request: OpenAiRequest,
    ) -> StoreFileDeletedOut:
        """Take a file out. The file itself stays, unless it was uploaded straight into the knowledge base."""
        await detach_file(request.owner, vector_store_in(vector_store_id), file_in(file_id))
        return StoreFileDeletedOut(file_id)

    @get("/{file_id:str}/content", responses=openai_failures(404))
    async def content(
        self,
        vector_store_id: FromPath[str],
        file_id: FromPath[str],
        read_store_file: Asked[ReadStoreFile],
        request: OpenAiRequest,
    ) -> FileTextOut:
        """The text that was read from a file."""
        store = vector_store_in(vector_store_id)
        file, text = await read_store_file(request.owner, store, file_in(file_id))
        attributes = dict(file.document.attributes)
        return FileTextOut(file_id, file.document.name, attributes, [ContentOut(text)] if text else [])


def to_attach(data: AttachIn) -> ToAttach:
    """Raises `StoredFileNotFound`, `InvalidChunking`."""
    chunking = chunking_in(data.chunking_strategy)
    return ToAttach(file=file_in(data.file_id), attributes=data.attributes, chunking=chunking)


def store_files_page(found: Sequence[StoreFile], page: PageQuery) -> Page[StoreFileOut]:
    return sliced_page(list(map(store_file_out, found)), page, lambda file: file.id)


def store_file_out(file: StoreFile) -> StoreFileOut:
    document = file.document
    return StoreFileOut(
        id=uuid_id(FILE, file.file),
        vector_store_id=uuid_id(VECTOR_STORE, document.knowledge_base),
        created_at=int(document.created_at.timestamp()),
        usage_bytes=document.size if file.status is FileStatus.COMPLETED else 0,
        status=file.status,
        last_error=_last_error(failure_of(document)) if file.status is FileStatus.FAILED else None,
        chunking_strategy=_chunking_out(file.chunking or USUAL_CHUNKING),
        attributes=dict(document.attributes),
    )


def _chunking_out(chunking: Chunking) -> ChunkingOut:
    return ChunkingOut(ChunkSizesOut(chunking.longest, chunking.overlap))


def _last_error(failure: DomainError) -> LastErrorOut:
    match failure:
        case Unsupported():
            return LastErrorOut("unsupported_file", str(failure))
        case Invalid():
            return LastErrorOut("invalid_file", str(failure))
        case _:
            return LastErrorOut("server_error", str(failure))
