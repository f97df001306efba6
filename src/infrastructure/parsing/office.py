"""Documents of office programs, read with kreuzberg.

It bundles what it needs, starts in 0.1 s and reads a hundred pages of PDF in half a second. Its Markdown is not used,
as its escapes would stand in every quotation: the text is put together from the nodes it found.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from secrets import token_hex
from typing import Any

from kreuzberg import (
    ConcurrencyConfig,
    ContentFilterConfig,
    ExtractionConfig,
    ExtractionResult,
    KreuzbergError,
    MissingDependencyError,
    PageConfig,
    extract_bytes_sync,
)

from llm_backend.domain.errors import (
    DocumentEmpty,
    DocumentEncrypted,
    DocumentScanned,
    DocumentUnreadable,
    UnsupportedDocument,
)
from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.infrastructure.parsing.canvas import Canvas
from llm_backend.infrastructure.parsing.charts import CHARTED, add_charts
from llm_backend.infrastructure.parsing.notes import speaker_notes
from llm_backend.infrastructure.parsing.pdf import WrittenLines
from llm_backend.infrastructure.parsing.pictures import has_pictures
from llm_backend.infrastructure.parsing.word import mended, resolved

_MIME_TYPES = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "epub": "application/epub+zip",
    "rtf": "application/rtf",
    "doc": "application/msword",
    "ppt": "application/vnd.ms-powerpoint",
    "msg": "application/vnd.ms-outlook",
}
# Not what stands in the margins of every page, but the rest of it: by default the first line of a page may be lost.
_EVERYTHING = ContentFilterConfig(include_headers=True, include_footers=True, strip_repeating_text=True)
_LONG = 200  # pages
_MAYBE_LONG = 200_000  # bytes
_PROTECTED = re.compile(r"password|encrypt", re.IGNORECASE)
_SOFT_HYPHEN = re.compile("[\x02\ufffe]\n?")  # what pdfium makes of a hyphen at the end of a line
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_DENSE = re.compile("[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")  # written without blanks between words


def read_office(kind: str, data: bytes, longest: int) -> ParsedDocument:
    """Raises what `DocumentParser.parse` raises."""
    if kind == "pdf" and len(data) > _MAYBE_LONG and len(pages := _plain_pages(data)) > _LONG:
        return _read_long_pdf(pages, longest)
    page_mark = f"page-{token_hex(8)}-"
    result = _extracted(kind, mended(data) if kind == "docx" else data, page_mark)
    canvas = Canvas(longest)
    if kind == "epub":
        canvas.paragraph(_imprint(result.metadata))
    notes = speaker_notes(data) if kind == "pptx" else {}
    reader = _Nodes(canvas, kind, page_mark, WrittenLines(result.pages or ()), notes)
    for node in result.document["nodes"] if result.document else ():
        reader.take(node)
    reader.end_page()
    if kind in CHARTED:
        add_charts(canvas, data)
    title = str(result.metadata.get("title") or "")
    try:
        return canvas.document(kind, "" if title.lower() == "untitled" else title)
    except DocumentEmpty:
        raise DocumentScanned if has_pictures(data) else DocumentEmpty from None


def _plain_pages(data: bytes) -> Sequence[Any]:
    config = ExtractionConfig(  # type: ignore[call-arg]
        use_cache=False,
        disable_ocr=True,  # pyright: ignore[reportCallIssue]
        concurrency=ConcurrencyConfig(max_threads=1),
        pages=PageConfig(extract_pages=True),
    )
    return _result("pdf", data, config).pages or ()


def _read_long_pdf(pages: Sequence[Any], longest: int) -> ParsedDocument:
    """Without headings, each page a paragraph: 3 ms a page. To find the structure takes 10."""
    canvas = Canvas(longest)
    for page in pages:
        canvas.page = page["page_number"]
        canvas.paragraph(_unwrapped(_SOFT_HYPHEN.sub("", page["content"])))
    return canvas.document("pdf")


def _imprint(metadata: Any) -> str:
    """What a book says of itself; kreuzberg leaves it out of the text."""
    authors = ", ".join(metadata.get("authors") or ())
    parts = (metadata.get("title"), authors and f"Authors: {authors}", metadata.get("description"))
    return "\n".join(part for part in parts if part)


def _extracted(kind: str, data: bytes, page_mark: str) -> ExtractionResult:
    config = ExtractionConfig(  # type: ignore[call-arg]  # `disable_ocr` is missing from the stub
        use_cache=False,  # the default writes every document into the home directory
        disable_ocr=True,  # pyright: ignore[reportCallIssue]
        output_format="markdown",  # with "plain", a page of a PDF is one paragraph
        include_document_structure=True,
        concurrency=ConcurrencyConfig(max_threads=1),
        pages=_pages(kind, page_mark),
        content_filter=_EVERYTHING if kind == "pdf" else None,
    )
    return _result(kind, data, config)


def _result(kind: str, data: bytes, config: ExtractionConfig) -> ExtractionResult:
    try:
        return extract_bytes_sync(data, _MIME_TYPES[kind], config)
    except MissingDependencyError as error:
        raise UnsupportedDocument from error
    except KreuzbergError as error:
        if _PROTECTED.search(str(error)):
            raise DocumentEncrypted from error
        raise DocumentUnreadable(f"The document is damaged and cannot be read as {kind}") from error


def _pages(kind: str, page_mark: str) -> PageConfig | None:
    """Nodes of a PDF carry their page. For slides there are only marks in the text."""
    if kind == "pdf":
        return PageConfig(extract_pages=True)
    if kind != "pptx":
        return None
    return PageConfig(extract_pages=True, insert_page_markers=True, marker_format=f"\n\n{page_mark}{{page_num}}\n\n")


class _Nodes:
    """Puts kreuzberg's nodes on the canvas."""

    def __init__(
        self, canvas: Canvas, kind: str, page_mark: str, written: WrittenLines, notes: Mapping[int, str]
    ) -> None:
        self.canvas = canvas
        self._kind = kind
        self._page_mark = page_mark
        self._written = written
        self._notes = notes

    def take(self, node: Any) -> None:
        content = node["content"]
        if self._kind == "pdf":
            self.canvas.page = node.get("page") or self.canvas.page
        match content["node_type"]:
            case "title":
                self.canvas.heading(self._text(content["text"]), 1)
            case "heading":
                self.canvas.heading(self._text(content["text"]), content["level"])
            case "list_item":
                self._list_item(self._text(content["text"]))
            case "table":
                self.canvas.table([[self._text(cell) for cell in row] for row in _rows(content["grid"])])
            case "metadata_block":
                self.canvas.paragraph("\n".join(": ".join(entry) for entry in content["entries"]))
            case "image":
                self.canvas.paragraph(self._text(content.get("description") or ""))
            case _:
                self._paragraph(content.get("text") or "")

    def end_page(self) -> None:
        self.canvas.paragraph(self._notes.get(self.canvas.page or 0, ""))

    def _paragraph(self, raw: str) -> None:
        if raw.strip().startswith(self._page_mark):
            self.end_page()
            self.canvas.page = int(raw.strip().removeprefix(self._page_mark))
        else:
            self.canvas.paragraph(self._text(raw))

    def _list_item(self, text: str) -> None:
        if text.strip():
            self.canvas.line(f"- {text.strip()}")

    def _text(self, text: str) -> str:
        match self._kind:
            case "docx":
                return resolved(text)
            case "pdf":
                return _unwrapped(_SOFT_HYPHEN.sub("", self._written.restored(text, self.canvas.page)))
            case "pptx":  # kreuzberg reads the Markdown that it wrote itself, and leaves some of it
                return _PICTURE.sub(r"\1", text).replace("**", "")
            case _:
                return text


def _unwrapped(text: str) -> str:
    """Lines of a paragraph that were only broken at the margin, made one; short lines stay for themselves."""
    lines = [line.strip() for line in text.split("\n")]
    margin = max(map(len, lines)) * 0.6
    pieces = [lines[0]]
    for before, line in pairwise(lines):
        dense = _DENSE.match(before[-1:]) and _DENSE.match(line[:1])
        pieces.append("\n" if len(before) < margin else "" if dense else " ")
        pieces.append(line)
    return "".join(pieces)


def _rows(grid: Any) -> list[list[str]]:
    rows: dict[int, list[str]] = {}
    for cell in grid["cells"]:
        rows.setdefault(cell["row"], []).append(cell["content"])
    return [rows[number] for number in sorted(rows)]
