"""`/v1/vector_stores`: the knowledge bases of `/api/rag`, as OpenAI's clients know them."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from llm_backend.application.knowledge import DeleteKnowledgeBase
from llm_backend.application.store_files import MOST_FILES, AttachFiles, ToAttach
from llm_backend.application.vector_stores import (
    CreateVectorStore,
    FindVectorStore,
    Hit,
    ListVectorStores,
    SearchVectorStore,
    StoreChanges,
    UpdateVectorStore,
)
from llm_backend.domain.api_keys import Scope
from llm_backend.domain.files import USUAL_CHUNKING, Chunking
from llm_backend.domain.vector_stores import FileCounts, StoreStatus, VectorStore
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.documentation import openai_failures
from llm_backend.interface.http.openai.ids import FILE, NO_STORE, VECTOR_STORE, file_in, uuid_id, vector_store_in
from llm_backend.interface.http.openai.lists import Page, PageQuery, page_query, slice_of, sliced_page
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.rest.filters import FilterIn, condition_of
from llm_backend.interface.http.rest.parameters import Asked, Body

TAGS = ["OpenAI"]
DAY = timedelta(days=1)

ValueOut: TypeAlias = str | bool | int | float


class LifeIn(msgspec.Struct):
    """Days from the last use on, after which the vector store is deleted."""

    days: Annotated[int, msgspec.Meta(ge=1, le=365)]
    anchor: Literal["last_active_at"]


class ChunkSizesIn(msgspec.Struct):
    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class ChunkingIn(msgspec.Struct):
    """`auto`, or `static` with sizes: 100 to 4096 tokens, of which at most half are shared with a neighbour."""

    type: Literal["auto", "static"]
    static: ChunkSizesIn | None = None


class VectorStoreIn(msgspec.Struct):
    """`file_ids` are attached at once. `embedding_model` is ours: the default one unless named."""

    name: str | None = None
    description: str | None = None
    file_ids: Annotated[list[str], msgspec.Meta(max_length=MOST_FILES)] | None = None
    expires_after: LifeIn | None = None
    chunking_strategy: ChunkingIn | None = None
    metadata: dict[str, str] | None = None
    embedding_model: str | None = None


class VectorStoreChangesIn(msgspec.Struct):
    """What is left out stays as it is; `expires_after: null` keeps the store for good."""

    name: str | None = None
    description: str | None = None
    expires_after: LifeIn | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, str] | None = None


class RankingIn(msgspec.Struct):
    """Rankers go by many names; there is one here, and it is used whatever is named."""

    ranker: str | None = None
    score_threshold: float | None = None


class SearchIn(msgspec.Struct):
    """`query` is one question or several. `rewrite_query` is accepted, and the question is searched for as it is: what
    there is to rewrite it by is in a conversation, and so in `file_search` of responses."""

    query: str | list[str]
    filters: FilterIn | None = None
    max_num_results: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    ranking_options: RankingIn | None = None
    rewrite_query: bool | None = None


class LifeOut(msgspec.Struct):
    days: int
    anchor: Literal["last_active_at"] = "last_active_at"


class FileCountsOut(msgspec.Struct):
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class VectorStoreOut(msgspec.Struct):
    """Times are Unix times; `usage_bytes` is the size of the files that can be searched."""

    id: str
    created_at: int
    name: str
    description: str
    usage_bytes: int
    file_counts: FileCountsOut
    status: StoreStatus
    expires_after: LifeOut | None
    expires_at: int | None
    last_active_at: int
    metadata: dict[str, str]
    object: Literal["vector_store"] = "vector_store"


class VectorStoreDeletedOut(msgspec.Struct):
    id: str
    deleted: bool = True
    object: Literal["vector_store.deleted"] = "vector_store.deleted"


class ContentOut(msgspec.Struct):
    text: str
    type: Literal["text"] = "text"


class HitOut(msgspec.Struct):
    """`score` is between 0 and 1."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, ValueOut]
    content: list[ContentOut]


class HitsOut(msgspec.Struct):
    search_query: list[str]
    data: list[HitOut]
    has_more: bool = False
    next_page: None = None
    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"


class VectorStoresController(Controller):
    path = "/vector_stores"
    security = SIGNED_IN
    tags = TAGS
    opt: Any = good_for(Scope.FILES)

    @post("/", status_code=200, operation_class=RepeatableOperation, responses=openai_failures(404, 409, 413, 507))
    async def create(
        self,
        data: Body[VectorStoreIn],
        create_vector_store: Asked[CreateVectorStore],
        find_vector_store: Asked[FindVectorStore],
        attach_files: Asked[AttachFiles],
        request: OpenAiRequest,
    ) -> VectorStoreOut:
        """Make a vector store, which is a knowledge base, and attach files to it."""
        chunking = chunking_in(data.chunking_strategy)
        files = [file_in(text) for text in dict.fromkeys(data.file_ids or [])]
        await attach_files.check(request.owner, files)
        made = await create_vector_store(
            request.owner,
            _about(data),
            embedding_model=data.embedding_model,
            idempotency=idempotency(request.scope, data),
        )
        if files:
            await attach_files.batch(request.owner, made, [ToAttach(file=file, chunking=chunking) for file in files])
        return vector_store_out(await find_vector_store(request.owner, made))

    @get("/", dependencies={"page": page_query()}, responses=openai_failures())
    async def list_all(
        self,
        list_vector_stores: Asked[ListVectorStores],
        request: OpenAiRequest,
        page: NamedDependency[PageQuery],
    ) -> Page[VectorStoreOut]:
        """The user's knowledge bases."""
        found = await list_vector_stores(request.owner, slice_of(page, vector_store_in, nothing=NO_STORE))
        return sliced_page(list(map(vector_store_out, found)), page, lambda store: store.id)

    @get("/{vector_store_id:str}", responses=openai_failures(404))
    async def find(
        self, vector_store_id: FromPath[str], find_vector_store: Asked[FindVectorStore], request: OpenAiRequest
    ) -> VectorStoreOut:
        """One knowledge base, and how far its files have come."""
        return vector_store_out(await find_vector_store(request.owner, vector_store_in(vector_store_id)))

    @post("/{vector_store_id:str}", status_code=200, responses=openai_failures(404, 413, 507))
    async def update(
        self,
        vector_store_id: FromPath[str],
        data: Body[VectorStoreChangesIn],
        update_vector_store: Asked[UpdateVectorStore],
        request: OpenAiRequest,
    ) -> VectorStoreOut:
        """Change the name, what is noted down, or when it ends."""
        changes = StoreChanges(
            name=data.name,
            metadata=data.metadata,
            description=data.description,
            expires_after=_life(data.expires_after),
            expires_never=data.expires_after is None,
        )
        return vector_store_out(await update_vector_store(request.owner, vector_store_in(vector_store_id), changes))

    @delete("/{vector_store_id:str}", status_code=200, responses=openai_failures(404, 507))
    async def delete(
        self, vector_store_id: FromPath[str], delete_knowledge_base: Asked[DeleteKnowledgeBase], request: OpenAiRequest
    ) -> VectorStoreDeletedOut:
        """Delete a knowledge base with its documents. Files that were uploaded by themselves stay."""
        await delete_knowledge_base(request.owner, vector_store_in(vector_store_id))
        return VectorStoreDeletedOut(vector_store_id)

    @post(
        "/{vector_store_id:str}/search",
        status_code=200,
        opt=good_for(Scope.FILES, changes=False),
        responses=openai_failures(404, 413, 502, 504),
    )
    async def search(
        self,
        vector_store_id: FromPath[str],
        data: Body[SearchIn],
        search_vector_store: Asked[SearchVectorStore],
        request: OpenAiRequest,
    ) -> HitsOut:
        """Find the passages that have to do with a question, best first."""
        queries = [data.query] if isinstance(data.query, str) else data.query
        hits = await search_vector_store(
            request.owner,
            vector_store_in(vector_store_id),
            queries,
            where=condition_of(data.filters) if data.filters else None,
            top_k=data.max_num_results,
            threshold=data.ranking_options.score_threshold if data.ranking_options else None,
        )
        return HitsOut(search_query=queries, data=list(map(hit_out, hits)))


def vector_store_out(store: VectorStore) -> VectorStoreOut:
    base, settings = store.base, store.settings
    return VectorStoreOut(
        id=uuid_id(VECTOR_STORE, base.id),
        created_at=_unix(base.created_at),
        name=base.name,
        description=settings.description,
        usage_bytes=store.bytes_used,
        file_counts=file_counts_out(store.counts),
        status=store.status,
        expires_after=LifeOut(settings.expires_after // DAY) if settings.expires_after else None,
        expires_at=_unix(settings.expires_at) if settings.expires_at else None,
        last_active_at=_unix(settings.last_active_at),
        metadata=dict(settings.metadata),
    )


def file_counts_out(counts: FileCounts) -> FileCountsOut:
    return FileCountsOut(counts.in_progress, counts.completed, counts.failed, counts.cancelled, counts.total)


def hit_out(hit: Hit) -> HitOut:
    return HitOut(
        file_id=uuid_id(FILE, hit.file.file),
        filename=hit.passage.document_name,
        score=hit.passage.score,
        attributes=dict(hit.file.document.attributes),
        content=[ContentOut(hit.passage.chunk.text)],
    )


def chunking_in(given: ChunkingIn | None) -> Chunking | None:
    """None to cut as usual. Raises `InvalidChunking`."""
    if given is None or given.type == "auto":
        return None
    sizes = given.static or ChunkSizesIn(USUAL_CHUNKING.longest, USUAL_CHUNKING.overlap)
    return Chunking(longest=sizes.max_chunk_size_tokens, overlap=sizes.chunk_overlap_tokens)


def _about(data: VectorStoreIn) -> StoreChanges:
    return StoreChanges(
        name=data.name,
        metadata=data.metadata,
        description=data.description,
        expires_after=_life(data.expires_after),
    )


def _life(given: LifeIn | msgspec.UnsetType | None) -> timedelta | None:
    return given.days * DAY if isinstance(given, LifeIn) else None


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())
