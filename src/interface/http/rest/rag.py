"""`/api/rag`: knowledge bases, their documents, and questions to them. Its messages are Chinese."""

from typing import Annotated

import msgspec
from litestar import Controller, get, post
from litestar.params import FromQuery
from litestar.types import ASGIApp

from llm_backend.application.knowledge import (
    CreateKnowledgeBase,
    DeleteDocument,
    DeleteKnowledgeBase,
    ListDocuments,
    ListEmbeddingModels,
    ListKnowledgeBases,
)
from llm_backend.application.retrieval import Retrieve
from llm_backend.domain.ids import LARGEST_ID, ConversationId, DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import DocumentSummary, KnowledgeBase, Passage
from llm_backend.interface.http.documentation import (
    SIGNED_IN,
    AskOperation,
    RepeatableOperation,
    failures,
    streams,
)
from llm_backend.interface.http.errors import InvalidBody, InvalidConversationId
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.requests import ApiRequest, checked_text
from llm_backend.interface.http.rest.answers import Answers
from llm_backend.interface.http.rest.filters import FilterIn, condition_of
from llm_backend.interface.http.rest.parameters import Asked, Body

DEFAULT_TOP_K = 5
TAGS = ["Knowledge bases"]


class KnowledgeBaseIn(msgspec.Struct):
    kb_name: str
    embedding_model: str | None = None


class KnowledgeBaseNamed(msgspec.Struct):
    kb_id: str


class DocumentNamed(msgspec.Struct):
    kb_id: str
    doc_id: str


class RetrieveIn(msgspec.Struct):
    """One knowledge base in `kb_id`, or several in `kb_ids`. `threshold` is the lowest score that comes back, itself
    included; `explain` adds to each result how its score came about, and where its text stands in the document. Null
    is as good as nothing."""

    query: str
    kb_id: Annotated[str | None, msgspec.Meta(examples=["0b54ba0c-54f7-4c8f-a53d-6a1a1d6f4f2e"])] = None
    kb_ids: list[str] | None = None
    top_k: int | None = DEFAULT_TOP_K
    threshold: float | None = None
    filters: FilterIn | None = None
    explain: bool | None = False


class GroundedQuestionIn(msgspec.Struct):
    conversation_id: int
    kb_id: str
    message: str
    top_k: int | None = DEFAULT_TOP_K


class RagMessageOut(msgspec.Struct):
    success: bool
    message: str


class KnowledgeBaseMadeOut(msgspec.Struct):
    success: bool
    kb_id: str
    message: str


class KnowledgeBaseOut(msgspec.Struct):
    kb_id: str
    kb_name: str
    embedding_model: str


class KnowledgeBasesOut(msgspec.Struct):
    success: bool
    kbs: list[KnowledgeBaseOut]
    message: str


class DocumentOut(msgspec.Struct, omit_defaults=True):
    doc_id: str
    kb_id: str
    doc_name: str
    file_type: str
    attributes: dict[str, str | bool | int | float] | None = None


class DocumentsOut(msgspec.Struct):
    success: bool
    docs: list[DocumentOut]
    message: str


class ExplanationOut(msgspec.Struct):
    """`fused` was made of `bm25`, relative to the best, the shares of the query's `words` and `pairs` of words that are
    in the text, and `cosine`; ranks count from 1 in what either way has found. `rerank` is what a reranking model made
    of it. `start` and `end` count Unicode code points of the document's text."""

    bm25: float
    cosine: float
    text_rank: int | None
    vector_rank: int | None
    words: float
    pairs: float
    fused: float
    rerank: float | None
    chunk: int
    start: int
    end: int
    page: int | None
    headings: list[str]


class PassageOut(msgspec.Struct, omit_defaults=True):
    content: str
    score: float
    doc_id: str
    doc_name: str
    kb_id: str | None = None
    explain: ExplanationOut | None = None


class PassagesOut(msgspec.Struct, omit_defaults=True):
    """`degraded` is there when vectors, be it those of one document, reranking or a part of the index were not to be
    had."""

    success: bool
    results: list[PassageOut]
    message: str
    degraded: bool = False


class ModelsOut(msgspec.Struct):
    success: bool
    models: list[str]
    message: str


class RagController(Controller):
    path = "/rag"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/kb/create",
        status_code=200,
        operation_class=RepeatableOperation,
        responses=failures(400, 401, 409, 413, 503, 507),
    )
    async def create_knowledge_base(
        self, data: Body[KnowledgeBaseIn], create_knowledge_base: Asked[CreateKnowledgeBase], request: ApiRequest
    ) -> KnowledgeBaseMadeOut:
        """Make an empty knowledge base, bound to one embedding model: the default one unless named."""
        made = await create_knowledge_base(
            request.owner,
            data.kb_name,
            data.embedding_model or None,
            idempotency=idempotency(request.scope, data),
        )
        return KnowledgeBaseMadeOut(True, made.id, f"知识库创建成功,使用模型: {made.space.model}")

    @get("/kb/list", responses=failures(401, 503))
    async def list_knowledge_bases(
        self, list_knowledge_bases: Asked[ListKnowledgeBases], request: ApiRequest
    ) -> KnowledgeBasesOut:
        """The knowledge bases of the user."""
        found = await list_knowledge_bases(request.owner)
        return KnowledgeBasesOut(True, [knowledge_base_out(each) for each in found], "知识库列表获取成功")

    @post("/kb/delete", status_code=200, responses=failures(400, 401, 404, 413, 503, 507))
    async def delete_knowledge_base(
        self, data: Body[KnowledgeBaseNamed], delete_knowledge_base: Asked[DeleteKnowledgeBase], request: ApiRequest
    ) -> RagMessageOut:
        """Delete a knowledge base and its documents, for good."""
        await delete_knowledge_base(request.owner, KnowledgeBaseId(data.kb_id))
        return RagMessageOut(True, "知识库删除成功")

    @get("/doc/list", responses=failures(400, 401, 404, 503))
    async def list_documents(
        self, kb_id: FromQuery[str], list_documents: Asked[ListDocuments], request: ApiRequest
    ) -> DocumentsOut:
        """The documents of a knowledge base."""
        found = await list_documents(request.owner, KnowledgeBaseId(checked_text(kb_id)))
        return DocumentsOut(True, [document_out(each) for each in found], "文档列表获取成功")

    @post("/doc/delete", status_code=200, responses=failures(400, 401, 404, 413, 503, 507))
    async def delete_document(
        self, data: Body[DocumentNamed], delete_document: Asked[DeleteDocument], request: ApiRequest
    ) -> RagMessageOut:
        """Delete a document, for good."""
        await delete_document(request.owner, KnowledgeBaseId(data.kb_id), DocumentId(data.doc_id))
        return RagMessageOut(True, "文档删除成功")

    @post("/retrieve", status_code=200, responses=failures(400, 401, 404, 413, 500, 503))
    async def retrieve(self, data: Body[RetrieveIn], retrieve: Asked[Retrieve], request: ApiRequest) -> PassagesOut:
        """Find the passages that have to do with a query, best first."""
        first, *others = _knowledge_bases(data)
        found = await retrieve(
            request.owner,
            first,
            data.query,
            also=others,
            where=condition_of(data.filters) if data.filters else None,
            top_k=_passages(data.top_k),
            threshold=data.threshold,
            explain=bool(data.explain),
        )
        named, explained = data.kb_ids is not None, bool(data.explain)
        results = [passage_out(each, named=named, explained=explained) for each in found.passages]
        return PassagesOut(True, results, "检索成功", found.degraded)

    @post(
        "/chat",
        status_code=200,
        operation_class=AskOperation,
        responses=streams() | failures(400, 401, 404, 409, 413, 429, 500, 503, 507),
    )
    async def chat(self, data: Body[GroundedQuestionIn], answers: Asked[Answers], request: ApiRequest) -> ASGIApp:
        """Ask with what a knowledge base says about it, and read the answer as it is written."""
        if not 1 <= data.conversation_id <= LARGEST_ID:
            raise InvalidConversationId
        conversation, key = ConversationId(data.conversation_id), idempotency(request.scope, data)
        return await answers.begin(
            request,
            conversation,
            data.message,
            lambda: answers.ask(
                request.owner,
                conversation,
                KnowledgeBaseId(data.kb_id),
                data.message,
                top_k=_passages(data.top_k),
                idempotency=key,
            ),
        )

    @get("/models", sync_to_thread=False, responses=failures(401, 503))
    def list_models(self, list_embedding_models: Asked[ListEmbeddingModels]) -> ModelsOut:
        """The embedding models that a knowledge base can be bound to, the default first."""
        return ModelsOut(True, list(list_embedding_models()), "支持的Embedding模型列表获取成功")


def knowledge_base_out(knowledge_base: KnowledgeBase) -> KnowledgeBaseOut:
    return KnowledgeBaseOut(knowledge_base.id, knowledge_base.name, knowledge_base.space.model)


def document_out(document: DocumentSummary) -> DocumentOut:
    attributes = dict(document.attributes) or None
    return DocumentOut(document.id, document.knowledge_base, document.name, document.file_type, attributes)


def passage_out(passage: Passage, *, named: bool, explained: bool) -> PassageOut:
    return PassageOut(
        content=passage.chunk.text,
        score=passage.score,
        doc_id=passage.document,
        doc_name=passage.document_name,
        kb_id=passage.knowledge_base if named or explained else None,
        explain=explanation_out(passage) if explained else None,
    )


def explanation_out(passage: Passage) -> ExplanationOut:
    parts, chunk = passage.parts, passage.chunk
    return ExplanationOut(
        bm25=parts.bm25,
        cosine=parts.cosine,
        text_rank=parts.text_rank,
        vector_rank=parts.vector_rank,
        words=parts.words,
        pairs=parts.pairs,
        fused=parts.fused,
        rerank=parts.reranked,
        chunk=chunk.position,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        headings=list(chunk.headings),
    )


def _passages(top_k: int | None) -> int:
    return DEFAULT_TOP_K if top_k is None else top_k


def _knowledge_bases(data: RetrieveIn) -> list[KnowledgeBaseId]:
    """At least one. Raises `InvalidBody`."""
    if (data.kb_id is None) is (data.kb_ids is None):
        raise InvalidBody("The request body must have either kb_id or kb_ids", param="kb_id")
    if data.kb_id is not None:
        return [KnowledgeBaseId(data.kb_id)]
    if not data.kb_ids:
        raise InvalidBody("kb_ids must name at least one knowledge base", param="kb_ids")
    return list(map(KnowledgeBaseId, data.kb_ids))
