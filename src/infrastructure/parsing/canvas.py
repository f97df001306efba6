"""Building the canonical text of a document and its blocks, so that their offsets are right by construction."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from llm_backend.domain.errors import DocumentEmpty, DocumentTooLarge
from llm_backend.domain.knowledge import Block, ParsedDocument

MOST_BLOCKS = 50_000
_LONGEST_HEADING = 300
_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufeff\ufffe\uffff]")
_HALF_PAIRS = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"\s+")


def cleaned(text: str) -> str:
    r"""Line ends as `\n`; no control characters but tabs, no byte order marks, no halves of surrogate pairs."""
    return _HALF_PAIRS.sub("\ufffd", _UNWANTED.sub("", _NEWLINES.sub("\n", text)))


def one_line(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


class Headings:
    """The path of headings one is under, while a document is read from top to bottom."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []

    def enter(self, level: int, text: str) -> tuple[str, ...]:
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, text))
        return self.path

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._path)


class Canvas:
    """Takes the pieces of a document in reading order. Raises `DocumentTooLarge` past `longest` characters."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._length = 0
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._headings = Headings()
        self.page: int | None = None
        self.sheet: str | None = None

    def heading(self, text: str, level: int) -> None:
        """Further pieces are under it, until one of the same or a higher level comes."""
        line = one_line(cleaned(text))
        if len(line) > _LONGEST_HEADING:  # body text in large letters, as in posters and forms
            self.paragraph(text)
        elif line:
            self._headings.enter(level, line)
            self._add(line, self._headings.path, "\n\n")

    def appendix(self) -> None:
        """What follows is on no page or sheet and under no heading."""
        self._headings = Headings()
        self.page = self.sheet = None

    def paragraph(self, text: str) -> None:
        self._add(cleaned(text).strip(), self._headings.path, "\n\n")

    def line(self, text: str) -> None:
        """A piece that belongs closely to the one before it: a list item, a row."""
        self._add(cleaned(text).strip(), self._headings.path, "\n")

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Each row is a block, under the first row as its heading."""
        lines = [line for line in map(_row, rows) if line]
        header = (lines[0],) if len(lines) > 1 and len(lines[0]) <= _LONGEST_HEADING else ()
        for index, line in enumerate(lines):
            self._add(line, (*self._headings.path, *header), "\n" if index else "\n\n")

    def _add(self, text: str, headings: tuple[str, ...], gap: str) -> None:
        if not text:
            return
        if self._parts:
            self._parts.append(gap)
            self._length += len(gap)
        start, self._length = self._length, self._length + len(text)
        if self._length > self._longest:
            raise DocumentTooLarge(f"The document has more than {self._longest:,} characters of text")
        self._parts.append(text)
        self._blocks.append(Block(start=start, end=self._length, headings=headings, page=self.page, sheet=self.sheet))

    def document(self, file_type: str, title: str = "") -> ParsedDocument:
        """Raises `DocumentEmpty` if nothing came."""
        return document_of("".join(self._parts), self._blocks, file_type, title)


def document_of(text: str, blocks: Sequence[Block], file_type: str, title: str = "") -> ParsedDocument:
    """A document of which something can be seen. Raises `DocumentEmpty`."""
    if not text.strip():
        raise DocumentEmpty
    return ParsedDocument(text=text, blocks=fewer(blocks), file_type=file_type, title=one_line(cleaned(title))[:255])


def fewer(blocks: Sequence[Block], most: int = MOST_BLOCKS) -> list[Block]:
    """About so many: a file of a million one-word lines must not become a million objects. None reaches from one page
    or sheet into the next."""
    size = -(-len(blocks) // most)
    if size <= 1:
        return list(blocks)
    pages = (list(page) for _, page in groupby(blocks, lambda block: (block.page, block.sheet)))
    groups = (page[first : first + size] for page in pages for first in range(0, len(page), size))
    return [replace(group[0], end=group[-1].end) for group in groups]


def _row(cells: Sequence[str]) -> str:
    line = one_line(cleaned(" | ".join(cells)))
    return line.rstrip("| ") if line.strip("| ") else ""
