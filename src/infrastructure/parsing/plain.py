"""Text formats: their canonical text is the file's own, but JSON is laid out so that a line means something."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

from llm_backend.domain.errors import DocumentTooLarge, DocumentUnreadable
from llm_backend.domain.knowledge import Block, ParsedDocument
from llm_backend.infrastructure.parsing.canvas import Canvas, Headings, cleaned, document_of
from llm_backend.infrastructure.parsing.html import read_html

_PARAGRAPH = re.compile(r"\S[^\n]*(?:\n[^\S\n]*\S[^\n]*)*")
_MEMBER = re.compile(r"(?m)^ {2}\S.*\n(?: {3,}.*\n| {2}[\]}].*\n)*")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LONGEST_HEADER = 300


def read_text(kind: str, text: str, longest: int) -> ParsedDocument:
    """Raises `DocumentEmpty` and `DocumentTooLarge`."""
    if len(text) > longest:
        raise DocumentTooLarge(f"The document has more than {longest:,} characters of text")
    return _READERS[kind](text, longest)


def _read_txt(text: str, _: int) -> ParsedDocument:
    text = cleaned(text)
    blocks = [Block(start=found.start(), end=found.end()) for found in _PARAGRAPH.finditer(text)]
    return document_of(text, blocks, "txt")


# Tables --------------------------------------------------------------------------------------------------------------


def _read_csv(text: str, longest: int) -> ParsedDocument:
    text = cleaned(text)
    return _table(csv.reader(StringIO(text), delimiter=_delimiter(text)), longest, "csv")


def _read_tsv(text: str, longest: int) -> ParsedDocument:
    return _table(csv.reader(StringIO(cleaned(text)), delimiter="\t", quoting=csv.QUOTE_NONE), longest, "tsv")


def _table(rows: Iterator[list[str]], longest: int, file_type: str) -> ParsedDocument:
    csv.field_size_limit(longest)
    canvas = Canvas(longest)
    canvas.table(list(rows))
    return canvas.document(file_type)


def _delimiter(text: str) -> str:
    """The one that occurs most in the first line, a comma when in doubt."""
    return max(",;\t|", key=text.strip("\n").partition("\n")[0].count)


# JSON ----------------------------------------------------------------------------------------------------------------


def _read_json(text: str, longest: int) -> ParsedDocument:
    r"""Laid out with one value a line and `\u4e2d` as what it means; as it stands if it is not JSON after all."""
    try:
        laid_out = json.dumps(json.loads(cleaned(text)), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        laid_out = text
    laid_out = cleaned(laid_out)
    if len(laid_out) > longest:
        raise DocumentTooLarge(f"The document has more than {longest:,} characters of text")
    members = (Block(start=found.start(), end=found.end()) for found in _MEMBER.finditer(laid_out))
    return document_of(laid_out, _joined(laid_out, members), "json")


def _read_jsonl(text: str, longest: int) -> ParsedDocument:
    canvas = Canvas(longest)
    for line in cleaned(text).split("\n"):
        try:
            canvas.line(json.dumps(json.loads(line), ensure_ascii=False) if line.strip() else "")
        except (ValueError, RecursionError):
            canvas.line(line)
    return canvas.document("jsonl")


def _joined(text: str, members: Iterable[Block]) -> list[Block]:
    """Members with whatever stands between them, so that nothing is outside: brackets are no passage of their own."""
    ends = [member.end for member in members] or [len(text)]
    ends[-1] = len(text)
    return [Block(start=start, end=end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


# Notebooks -----------------------------------------------------------------------------------------------------------


def _read_ipynb(text: str, longest: int) -> ParsedDocument:
    """Read as the Markdown that its author sees: text, code in fences, what the code printed."""
    try:
        notebook = json.loads(text)
        language = str(notebook.get("metadata", {}).get("language_info", {}).get("name", "python"))
        cells = [_cell(cell, language) for cell in notebook["cells"]]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DocumentUnreadable("The file is named .ipynb but is not a notebook") from error
    return replace(_read_md(cleaned("\n\n".join(cells)), longest), file_type="ipynb")


def _cell(cell: dict[str, Any], language: str) -> str:
    source = _source(cell["source"])
    if cell["cell_type"] != "code":
        return source
    printed = [
        _source(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in cell["outputs"]
    ]
    return "\n\n".join((f"```{language}\n{source}\n```", *printed))


def _source(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


# Markdown ------------------------------------------------------------------------------------------------------------


def _read_md(text: str, _: int) -> ParsedDocument:
    text = cleaned(text)
    reader = _Markdown()
    for start, line in _lines(text):
        reader.take(start, line)
    reader.end_block()
    return document_of(text, reader.blocks, "md", reader.title)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for line in text.split("\n"):
        yield start, line
        start += len(line) + 1


class _Markdown:
    """Blocks of Markdown, line by line: headings, paragraphs and lists, fenced code, each row of a table."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.title = ""
        self._headings = Headings()
        self._start: int | None = None
        self._end = 0
        self._first = ""
        self._lines = 0
        self._fence = ""
        self._table = ""

    def take(self, start: int, line: str) -> None:
        if self._fence:
            self._extend(start, line)
            self._fence = "" if line.strip() and not line.strip().strip(self._fence[0]) else self._fence
        elif not line.strip():
            self.end_block()
        elif heading := _ATX.match(line):
            self.end_block()
            self._add_heading(start, start + len(line), len(heading[1]), heading[2] or "")
        elif self._lines == 1 and (underline := _SETEXT.match(line)) and self._start is not None:
            block_start, words = self._start, self._first
            self._forget()
            self._add_heading(block_start, start + len(line), 1 if underline[1][0] == "=" else 2, words)
        elif line.lstrip().startswith("|"):
            self._row(start, line)
        else:
            self._begin_fence(line)
            self._extend(start, line)

    def end_block(self) -> None:
        if self._start is not None:
            self.blocks.append(Block(start=self._start, end=self._end, headings=self._headings.path))
        self._forget()

    def _begin_fence(self, line: str) -> None:
        fence = _FENCE.match(line)
        if fence:
            self.end_block()
            self._fence = fence[1]

    def _extend(self, start: int, line: str) -> None:
        if self._start is None:
            self._start, self._first = start, line
        self._end = start + len(line)
        self._lines += 1

    def _row(self, start: int, line: str) -> None:
        if not self._table:
            self.end_block()
            self._table = line.strip()
        header = (self._table,) if len(self._table) <= _LONGEST_HEADER else ()
        self.blocks.append(Block(start=start, end=start + len(line), headings=(*self._headings.path, *header)))

    def _add_heading(self, start: int, end: int, level: int, words: str) -> None:
        path = self._headings.enter(level, words.strip())
        self.title = self.title or (words if level == 1 else "")
        self.blocks.append(Block(start=start, end=end, headings=path))

    def _forget(self) -> None:
        self._start, self._first, self._lines, self._table = None, "", 0, ""


_READERS: dict[str, Callable[[str, int], ParsedDocument]] = {
    "txt": _read_txt,
    "md": _read_md,
    "html": read_html,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "json": _read_json,
    "jsonl": _read_jsonl,
    "ipynb": _read_ipynb,
}
