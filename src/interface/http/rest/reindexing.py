"""`/api/rag/kb/reindex`: another embedding model for a knowledge base, while it is searched."""

from dataclasses import dataclass

import msgspec
from litestar import Controller, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery

from llm_backend.application.reindexing import (
    CancelReindexing,
    CheckReindexing,
    RollBackReindexing,
    StartReindexing,
)
from llm_backend.domain.ids import KnowledgeBaseId, ReindexingId
from llm_backend.domain.reindexing import ReindexingState, ReindexingStatus
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation, failures
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.rag_texts import RAG_TEXTS
from llm_backend.interface.http.requests import ApiRequest, checked_text
from llm_backend.interface.http.rest.parameters import Asked, Body
from llm_backend.interface.http.rest.rag import KnowledgeBaseNamed

TAGS = ["Knowledge bases"]
STATUS = "/api/rag/kb/reindex/status"
MESSAGES = {
    ReindexingState.RUNNING: "正在更换 Embedding 模型",
    ReindexingState.DONE: "Embedding 模型更换完成",
    ReindexingState.CANCELLED: "已取消更换 Embedding 模型",
}


class ReindexIn(msgspec.Struct):
    kb_id: str
    embedding_model: str


class ReindexStartedOut(msgspec.Struct):
    success: bool
    reindex_id: str
    kb_id: str
    message: str


class ReindexStatusOut(msgspec.Struct, omit_defaults=True):
    """`state` is running, done, failed or cancelled; `code` is there when it has failed, and says by what. `embedded`
    of `chunks` passages are in the new index."""

    success: bool
    reindex_id: str
    kb_id: str
    from_model: str
    to_model: str
    state: str
    percent: int
    chunks: int
    embedded: int
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Reindexings:
    """The use cases around a change of the embedding model, as one dependency."""

    start: StartReindexing
    check: CheckReindexing
    cancel: CancelReindexing
    roll_back: RollBackReindexing


ACCEPTED = {
    202: ResponseSpec(
        ReindexStartedOut,
        generate_examples=False,
        description="It has been noted down, and will be done; `Location` is its status",
    )
}


class ReindexingController(Controller):
    path = "/rag/kb/reindex"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/",
        status_code=202,
        operation_class=RepeatableOperation,
        responses={**ACCEPTED, **failures(400, 401, 404, 409, 413, 503, 507)},
    )
    async def start(
        self, data: Body[ReindexIn], reindexings: Asked[Reindexings], request: ApiRequest
    ) -> Response[ReindexStartedOut]:
        """Give a knowledge base another embedding model. It is searched with the old one until all of it is in the new
        index, and can be rolled back for some days after that."""
        started = await reindexings.start(
            request.owner,
            KnowledgeBaseId(data.kb_id),
            data.embedding_model,
            idempotency=idempotency(request.scope, data),
        )
        return _started(started, data.kb_id)

    @get("/status", responses=failures(400, 401, 404, 503))
    async def status(
        self, kb_id: FromQuery[str], reindexings: Asked[Reindexings], request: ApiRequest
    ) -> ReindexStatusOut:
        """How far the last change of a knowledge base's embedding model has come, and if it has failed, by what."""
        return status_out(await reindexings.check(request.owner, KnowledgeBaseId(checked_text(kb_id))))

    @post("/cancel", status_code=200, responses=failures(400, 401, 404, 413, 503, 507))
    async def cancel(
        self, data: Body[KnowledgeBaseNamed], reindexings: Asked[Reindexings], request: ApiRequest
    ) -> ReindexStatusOut:
        """Give up a change that is running. One that has ended stays as it is."""
        return status_out(await reindexings.cancel(request.owner, KnowledgeBaseId(data.kb_id)))

    @post("/rollback", status_code=202, responses={**ACCEPTED, **failures(400, 401, 404, 409, 413, 503, 507)})
    async def roll_back(
        self, data: Body[KnowledgeBaseNamed], reindexings: Asked[Reindexings], request: ApiRequest
    ) -> Response[ReindexStartedOut]:
        """Go back to the embedding model of before. Only documents that have come since are embedded again."""
        return _started(await reindexings.roll_back(request.owner, KnowledgeBaseId(data.kb_id)), data.kb_id)


def _started(reindexing: ReindexingId, knowledge_base: str) -> Response[ReindexStartedOut]:
    body = ReindexStartedOut(True, reindexing, knowledge_base, "已开始更换 Embedding 模型")
    return Response(body, status_code=202, headers={"Location": f"{STATUS}?kb_id={knowledge_base}"})


def status_out(status: ReindexingStatus) -> ReindexStatusOut:
    reindexing = status.reindexing
    return ReindexStatusOut(
        success=reindexing.state is not ReindexingState.FAILED,
        reindex_id=reindexing.id,
        kb_id=reindexing.knowledge_base,
        from_model=reindexing.source.model,
        to_model=reindexing.target.model,
        state=reindexing.state.value,
        percent=status.percent,
        chunks=status.chunks,
        embedded=status.embedded,
        message=MESSAGES.get(reindexing.state)
        or RAG_TEXTS.get(reindexing.reason or "", RAG_TEXTS["reindexing_failed"]),
        code=reindexing.reason,
    )
