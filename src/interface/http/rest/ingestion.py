"""`/api/rag/doc`: documents on their way in. Messages are Chinese, as in all of `/api/rag`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import msgspec
from litestar import Controller, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter
from litestar.types import ASGIApp

from llm_backend.application.uploads import CancelDocument, CheckDocument, DescribeDocument, FollowDocument, failure_of
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import DocumentState, DocumentStatus
from llm_backend.interface.http.documentation import SIGNED_IN, UploadOperation, failures
from llm_backend.interface.http.progress import StatusStream
from llm_backend.interface.http.rag_texts import RAG_TEXTS
from llm_backend.interface.http.requests import ApiRequest, checked_text
from llm_backend.interface.http.rest.parameters import Asked, Body
from llm_backend.interface.http.streams import EVENT_STREAM
from llm_backend.interface.http.uploads import Uploads

TAGS = ["Knowledge bases"]


class DocumentAlone(msgspec.Struct):
    doc_id: str


class AttributesIn(msgspec.Struct):
    doc_id: str
    attributes: dict[str, str | bool | int | float]


class AttributesOut(msgspec.Struct):
    success: bool
    doc_id: str
    attributes: dict[str, str | bool | int | float]
    message: str


class DocumentMadeOut(msgspec.Struct):
    success: bool
    doc_id: str
    message: str


class DocumentStatusOut(msgspec.Struct, omit_defaults=True):
    """`state` is pending, ready or failed; `code` is there when it has failed, and says by what."""

    success: bool
    doc_id: str
    kb_id: str
    doc_name: str
    state: str
    step: str
    percent: int
    chunks: int
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Documents:
    """The use cases around a document on its way in, as one dependency."""

    check: CheckDocument
    follow: FollowDocument
    cancel: CancelDocument
    describe: DescribeDocument
    keep_alive: timedelta


class IngestionController(Controller):
    path = "/rag/doc"
    security = SIGNED_IN
    tags = TAGS

    @get("/status", responses=failures(400, 401, 404, 503))
    async def status(
        self, doc_id: FromQuery[str], documents: Asked[Documents], request: ApiRequest
    ) -> DocumentStatusOut:
        """How far a document has come, and if it has failed, by what."""
        return status_out(await documents.check(request.owner, DocumentId(checked_text(doc_id))))

    @get(
        "/events",
        responses={
            200: ResponseSpec(
                str,
                generate_examples=False,
                description="Server-sent events named `status`, each with the body of `/status`. The first comes at "
                "once, the last says `ready` or `failed`",
                media_type=EVENT_STREAM,
            ),
            **failures(400, 401, 404, 503),
        },
    )
    async def events(self, doc_id: FromQuery[str], documents: Asked[Documents], request: ApiRequest) -> ASGIApp:
        """The same whenever it changes, until the document is ready or has failed."""
        document = DocumentId(checked_text(doc_id))
        await documents.check(request.owner, document)
        return StatusStream(
            statuses=documents.follow(request.owner, document),
            encode=lambda status: msgspec.json.encode(status_out(status)),
            keep_alive=documents.keep_alive,
        )

    @post("/cancel", status_code=200, responses=failures(400, 401, 404, 413, 503, 507))
    async def cancel(
        self, data: Body[DocumentAlone], documents: Asked[Documents], request: ApiRequest
    ) -> DocumentStatusOut:
        """Give up a document that is being read in. One that is ready or has failed stays as it is."""
        return status_out(await documents.cancel(request.owner, DocumentId(data.doc_id)))

    @post("/attributes", status_code=200, responses=failures(400, 401, 404, 413, 503, 507))
    async def describe(
        self, data: Body[AttributesIn], documents: Asked[Documents], request: ApiRequest
    ) -> AttributesOut:
        """Give a document attributes, in place of those it has. Searches with filters go by them at once."""
        await documents.describe(request.owner, DocumentId(data.doc_id), data.attributes)
        return AttributesOut(True, data.doc_id, data.attributes, "文档属性更新成功")


class UploadsController(Controller):
    """Apart from the others, because its bodies may be larger."""

    path = "/rag"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/doc/upload",
        status_code=200,
        operation_class=UploadOperation,
        responses={
            202: ResponseSpec(
                DocumentMadeOut,
                generate_examples=False,
                description="With `wait=false`: the document is stored, and will be read in; `Location` is its status",
            ),
            **failures(400, 401, 404, 409, 413, 415, 429, 500, 503, 507),
        },
    )
    async def upload_document(
        self,
        uploads: Asked[Uploads],
        request: ApiRequest,
        wait: Annotated[bool, QueryParameter()] = True,
        replace: Annotated[bool, QueryParameter()] = False,
    ) -> Response[DocumentMadeOut]:
        """Read a document into a knowledge base. It can be found as soon as this has been answered, unless
        `wait=false`. Whoever hangs up while waiting does not stop it.

        A file that is there already, by its name and content, is not read again: its document is named. With
        `replace=true`, here or in the form, the older documents of the same name are gone as soon as the new one can be
        found.
        """
        if wait:
            document, chunks = await uploads.read_in(request, replace=replace)
            text = f"文档上传处理成功,共分割并添加 {chunks} 个文本块"
            return Response(DocumentMadeOut(True, document.id, text), status_code=200)
        accepted = await uploads.accept(request, replace=replace)
        return Response(
            DocumentMadeOut(True, accepted, "文档已接收,正在处理"),
            status_code=202,
            headers={"Location": f"/api/rag/doc/status?doc_id={accepted}"},
        )


def status_out(status: DocumentStatus) -> DocumentStatusOut:
    document = status.document
    return DocumentStatusOut(
        success=document.state is not DocumentState.FAILED,
        doc_id=document.id,
        kb_id=document.knowledge_base,
        doc_name=document.name,
        state=document.state.value,
        step=status.step.value,
        percent=status.percent,
        chunks=status.chunks,
        message=_message(status),
        code=failure_of(document).code if document.state is DocumentState.FAILED else None,
    )


def _message(status: DocumentStatus) -> str:
    if status.document.state is DocumentState.FAILED:
        failure = failure_of(status.document)
        return RAG_TEXTS.get(failure.code, str(failure))
    return "文档处理完成" if status.is_settled else "文档正在处理"
