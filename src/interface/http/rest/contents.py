"""`/api/rag/doc`: what is in a document that is ready. Offsets count Unicode code points of its canonical text."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

import msgspec
from litestar import Controller, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from llm_backend.application.contents import MOST_CHUNKS, Original, ReadChunks, ReadContent, ReadOriginal
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import Block, Chunk, Document, Excerpt
from llm_backend.interface.http.documentation import SIGNED_IN, ContentOperation, failures
from llm_backend.interface.http.requests import ApiRequest, checked_text
from llm_backend.interface.http.rest.parameters import Asked

TAGS = ["Knowledge bases"]
_OF_SLIDES = frozenset({"pptx", "pptm", "ppt"})


class PlaceOut(msgspec.Struct, kw_only=True):
    """Characters `start` to `end` of a document's text, and where they stand: `headings` from the outermost on, and
    the number of the page or slide, from 1, or the name of the sheet."""

    start: int
    end: int
    headings: tuple[str, ...]
    page: int | None
    slide: int | None
    sheet: str | None


class ChunkOut(PlaceOut, kw_only=True):
    """A chunk of a document; `position` counts from 0."""

    position: int
    text: str


class ChunksOut(msgspec.Struct):
    """`total` is how many chunks the document has; the next page begins `after` the last position."""

    success: bool
    doc_id: str
    doc_name: str
    file_type: str
    total: int
    chunks: list[ChunkOut]
    message: str


class DocumentContentOut(msgspec.Struct):
    """Characters `start` to `end` of a text of `length` characters, and the blocks that reach into them."""

    success: bool
    doc_id: str
    doc_name: str
    file_type: str
    text: str
    start: int
    end: int
    length: int
    blocks: list[PlaceOut]
    message: str


class ContentsController(Controller):
    path = "/rag/doc"
    security = SIGNED_IN
    tags = TAGS

    @get("/chunks", responses=failures(400, 401, 404, 503))
    async def chunks(
        self,
        doc_id: FromQuery[str],
        read_chunks: Asked[ReadChunks],
        request: ApiRequest,
        after: Annotated[int, QueryParameter()] = -1,
        limit: Annotated[int, QueryParameter()] = MOST_CHUNKS,
    ) -> ChunksOut:
        """The chunks that a document was cut into, in order: each `text` is exactly characters `start` to `end`
        (Unicode code points) of the document's text."""
        document = DocumentId(checked_text(doc_id))
        status, chunks = await read_chunks(request.owner, document, after=after, limit=limit)
        return chunks_out(status.document, status.chunks, chunks)

    @get(
        "/content",
        operation_class=ContentOperation,
        responses={
            200: ResponseSpec(
                DocumentContentOut,
                generate_examples=False,
                description="The text and its blocks; with `original=true`, the bytes of the file",
            ),
            **failures(400, 401, 404, 503),
        },
    )
    async def content(
        self,
        doc_id: FromQuery[str],
        read_content: Asked[ReadContent],
        read_original: Asked[ReadOriginal],
        request: ApiRequest,
        start: Annotated[int, QueryParameter()] = 0,
        end: Annotated[int | None, QueryParameter()] = None,
        original: Annotated[bool, QueryParameter()] = False,
    ) -> Response[DocumentContentOut] | Stream:
        """The text of a document, up to a million characters of it at once; with `original=true` the file as it was
        uploaded, to be saved (`application/octet-stream`)."""
        document = DocumentId(checked_text(doc_id))
        if original:
            return original_out(await read_original(request.owner, document))
        return Response(content_out(await read_content(request.owner, document, start=start, end=end)))


def chunks_out(document: Document, total: int, chunks: Sequence[Chunk]) -> ChunksOut:
    return ChunksOut(
        success=True,
        doc_id=document.id,
        doc_name=document.name,
        file_type=document.file_type,
        total=total,
        chunks=[chunk_out(chunk, document) for chunk in chunks],
        message="文档分块获取成功",
    )


def chunk_out(chunk: Chunk, document: Document) -> ChunkOut:
    page, slide = _page_and_slide(chunk.page, document)
    return ChunkOut(
        position=chunk.position,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        headings=chunk.headings,
        page=page,
        slide=slide,
        sheet=chunk.sheet,
    )


def content_out(excerpt: Excerpt) -> DocumentContentOut:
    document = excerpt.document
    return DocumentContentOut(
        success=True,
        doc_id=document.id,
        doc_name=document.name,
        file_type=document.file_type,
        text=excerpt.text,
        start=excerpt.start,
        end=excerpt.end,
        length=excerpt.length,
        blocks=[place_out(block, document) for block in excerpt.blocks],
        message="文档内容获取成功",
    )


def place_out(block: Block, document: Document) -> PlaceOut:
    page, slide = _page_and_slide(block.page, document)
    return PlaceOut(
        start=block.start, end=block.end, headings=block.headings, page=page, slide=slide, sheet=block.sheet
    )


def _page_and_slide(number: int | None, document: Document) -> tuple[int | None, int | None]:
    return (None, number) if document.file_type in _OF_SLIDES else (number, None)


def original_out(original: Original) -> Stream:
    """Whatever a stranger's file is, a browser must save it and not show it."""
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(original.document.name, safe='')}",
        "content-length": str(original.document.size),
    }
    return Stream(original.content, headers=headers, media_type="application/octet-stream")
