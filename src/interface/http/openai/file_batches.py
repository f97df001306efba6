"""`/v1/vector_stores/…/file_batches`: files that are attached together."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from llm_backend.application.store_files import AttachFiles, CancelFileBatch, FindFileBatch, ListStoreFiles
from llm_backend.domain.api_keys import Scope
from llm_backend.domain.errors import InvalidFileBatch
from llm_backend.domain.vector_stores import BatchProgress, FileStatus
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.documentation import openai_failures
from llm_backend.interface.http.openai.ids import (
    FILE_BATCH,
    NO_FILE,
    VECTOR_STORE,
    batch_in,
    file_in,
    uuid_id,
    vector_store_in,
)
from llm_backend.interface.http.openai.lists import Page, PageQuery, page_query, slice_of
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai.store_files import (
    AttachIn,
    StatusQuery,
    StoreFileOut,
    store_files_page,
    to_attach,
)
from llm_backend.interface.http.openai.vector_stores import ChunkingIn, FileCountsOut, ValueOut, file_counts_out
from llm_backend.interface.http.rest.parameters import Asked, Body

TAGS = ["OpenAI"]


class FileBatchIn(msgspec.Struct):
    """Either `file_ids`, which share attributes and chunking, or `files`, each with its own."""

    file_ids: Annotated[list[str] | None, msgspec.Meta(examples=[["file-0b54ba0c54f74c8fa53d6a1a1d6f4f2e"]])] = None
    files: list[AttachIn] | None = None
    attributes: dict[str, ValueOut] | None = None
    chunking_strategy: ChunkingIn | None = None


class FileBatchOut(msgspec.Struct):
    id: str
    vector_store_id: str
    created_at: int
    status: FileStatus
    file_counts: FileCountsOut
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"


class FileBatchesController(Controller):
    path = "/vector_stores/{vector_store_id:str}/file_batches"
    security = SIGNED_IN
    tags = TAGS
    opt: Any = good_for(Scope.FILES)

    @post("/", status_code=200, operation_class=RepeatableOperation, responses=openai_failures(404, 409, 413, 507))
    async def create(
        self,
        vector_store_id: FromPath[str],
        data: Body[FileBatchIn],
        attach_files: Asked[AttachFiles],
        find_file_batch: Asked[FindFileBatch],
        request: OpenAiRequest,
    ) -> FileBatchOut:
        """Attach up to 500 files, all or none of them."""
        store = vector_store_in(vector_store_id)
        wanted = [to_attach(one) for one in _files_of(data)]
        batch = await attach_files.batch(request.owner, store, wanted, idempotency=idempotency(request.scope, data))
        return file_batch_out(await find_file_batch(request.owner, store, batch))

    @get("/{batch_id:str}", responses=openai_failures(404))
    async def find(
        self,
        vector_store_id: FromPath[str],
        batch_id: FromPath[str],
        find_file_batch: Asked[FindFileBatch],
        request: OpenAiRequest,
    ) -> FileBatchOut:
        """How far the files of a batch have come."""
        store = vector_store_in(vector_store_id)
        return file_batch_out(await find_file_batch(request.owner, store, batch_in(batch_id)))

    @post("/{batch_id:str}/cancel", status_code=200, responses=openai_failures(404, 507))
    async def cancel(
        self,
        vector_store_id: FromPath[str],
        batch_id: FromPath[str],
        cancel_file_batch: Asked[CancelFileBatch],
        request: OpenAiRequest,
    ) -> FileBatchOut:
        """Give up the files of a batch that are not read in yet. The others stay."""
        store = vector_store_in(vector_store_id)
        return file_batch_out(await cancel_file_batch(request.owner, store, batch_in(batch_id)))

    @get("/{batch_id:str}/files", dependencies={"page": page_query()}, responses=openai_failures(404))
    async def list_files(
        self,
        vector_store_id: FromPath[str],
        batch_id: FromPath[str],
        list_store_files: Asked[ListStoreFiles],
        request: OpenAiRequest,
        page: NamedDependency[PageQuery],
        filter: StatusQuery = None,  # noqa: A002 - the parameter is called so
    ) -> Page[StoreFileOut]:
        """The files of a batch that are still in the vector store."""
        store, batch = vector_store_in(vector_store_id), batch_in(batch_id)
        part = slice_of(page, file_in, nothing=NO_FILE)
        found = await list_store_files(request.owner, store, part, batch=batch, status=filter)
        return store_files_page(found, page)


def file_batch_out(progress: BatchProgress) -> FileBatchOut:
    batch = progress.batch
    return FileBatchOut(
        id=uuid_id(FILE_BATCH, batch.id),
        vector_store_id=uuid_id(VECTOR_STORE, batch.knowledge_base),
        created_at=int(batch.created_at.timestamp()),
        status=progress.status,
        file_counts=file_counts_out(progress.counts),
    )


def _files_of(data: FileBatchIn) -> list[AttachIn]:
    if (data.file_ids is None) is (data.files is None):
        raise InvalidFileBatch("A batch has either file_ids or files")
    if data.files is not None:
        return data.files
    return [AttachIn(file, data.attributes, data.chunking_strategy) for file in data.file_ids or []]
