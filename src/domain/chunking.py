"""Cutting a document into chunks: whole paragraphs wherever possible, at sentences where they are too long."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from unicodedata import combining

from llm_backend.domain.knowledge import Block, Chunk, ParsedDocument

_DENSE_RUN = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]+")
# One look per position, so that a megabyte of full stops or closing brackets costs linear time.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？；｡][。！？；｡”’」』）】]*\s*|\n\s*")
_CLAUSE_END = re.compile(r"[,;:，、：]\s*|\s+")
_JOINERS = frozenset("\u200d\ufe0e\ufe0f\u20e3\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_LONGEST_CLUSTER = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSizes:
    """How long chunks may be, in characters. A character of Chinese, Japanese or Korean says more than a letter: it
    counts as `longest / longest_dense` letters, and so does a mixture of both.

    Measured through search and packing: nDCG@10 on 5,183 abstracts is 0.688 with 1,200 letters, 0.695 with 1,600,
    0.702 with 2,000 and 0.701 with 2,400; Chinese collections do not care. 98.7 % (English) and 99.3 % (Chinese) of
    the answers come whole within a context of 3,000 characters, with 1,200 letters 98.7 % and 99.4 %.
    """

    longest: int = 2000
    longest_dense: int = 750
    merged: int = 400  # neighbours under the same heading are put together up to here
    overlap: int = 150  # between the pieces of a split paragraph, in whole sentences

    def of(self, text: str) -> int:
        """The size of a text in letters."""
        dense = 0 if text.isascii() else sum(map(len, _DENSE_RUN.findall(text)))
        return len(text) - dense + -(-dense * self.longest // self.longest_dense)


DEFAULT_SIZES = ChunkSizes()


@dataclass(slots=True)
class _Span:
    """Characters `start` to `end`, and how many letters they are worth."""

    start: int
    end: int
    size: int


def chunks_of(document: ParsedDocument, sizes: ChunkSizes = DEFAULT_SIZES) -> list[Chunk]:
    """The chunks of a document, in order, numbered from 0, in linear time.

    Each is exactly `document.text[chunk.start:chunk.end]` and is no longer than `sizes` allow; none is blank; each
    visible character of the document is in at least one. `search_text` is left to the caller.
    """
    spans = (
        (span, group)
        for group in _groups(document.text, _covering(document), sizes)
        for span in _split(document.text, group[0].start, group[-1].end, sizes)
    )
    return [_chunk(document.text, position, span, group) for position, (span, group) in enumerate(spans)]


def search_text_of(title: str, chunk: Chunk) -> str:
    """What a search should see of a chunk, before folding: title and headings in front of the text."""
    above = dict.fromkeys(part.strip() for part in (title, *chunk.headings) if part.strip())
    return f"{' > '.join(above)}\n{chunk.text}" if above else chunk.text


def _chunk(text: str, position: int, span: _Span, group: Sequence[Block]) -> Chunk:
    return Chunk(
        position=position,
        start=span.start,
        end=span.end,
        text=text[span.start : span.end],
        headings=group[-1].headings,
        page=group[0].page,
        sheet=group[0].sheet,
    )


def _covering(document: ParsedDocument) -> Iterator[Block]:
    """The blocks without surrounding blanks, and whatever visible text lies between them."""
    end, last = 0, Block(start=0, end=0)
    for block in (*document.blocks, Block(start=len(document.text), end=len(document.text))):
        between = replace(last, start=end, end=block.start)
        for candidate in (between, block):
            if trimmed := _trimmed(document.text, candidate):
                yield trimmed
        end, last = block.end, block


def _trimmed(text: str, block: Block) -> Block | None:
    inside = text[block.start : block.end]
    visible = inside.strip()
    if not visible:
        return None
    start = block.start + len(inside) - len(inside.lstrip())
    return replace(block, start=start, end=start + len(visible))


def _groups(text: str, blocks: Iterable[Block], sizes: ChunkSizes) -> Iterator[list[Block]]:
    """Small neighbours together, and each heading with what it stands above."""
    group: list[Block] = []
    size = 0
    ends_with_heading = False
    for block in blocks:
        words = text[block.start : block.end]
        more = sizes.of(words)
        if group and not _belongs(group[-1], block, ends_with_heading, size + more <= sizes.merged):
            yield group
            group, size = [], 0
        group.append(block)
        ends_with_heading = _is_heading(words, block)
        size += more
    if group:
        yield group


def _belongs(last: Block, block: Block, after_heading: bool, fits: bool) -> bool:
    if (last.page, last.sheet) != (block.page, block.sheet):
        return False
    if after_heading:
        return block.headings[: len(last.headings)] == last.headings
    return fits and block.headings == last.headings


def _is_heading(words: str, block: Block) -> bool:
    return bool(block.headings) and words.partition("\n")[0].strip("# \t") == block.headings[-1].strip()


def _split(text: str, start: int, end: int, sizes: ChunkSizes) -> Iterator[_Span]:
    """The span itself if it is short enough, else overlapping rows of its sentences, all of about the same size."""
    whole = sizes.of(text[start:end])
    if whole <= sizes.longest:
        yield _Span(start, end, whole)
        return
    target = whole / -(-whole // sizes.longest)
    row: list[_Span] = []
    size = fresh = 0
    for piece in _pieces(text, start, end, sizes):
        if fresh and (size + piece.size > sizes.longest or fresh + piece.size / 2 > target):
            yield from _row(text, row)
            row = _carried_over(row, sizes.overlap, sizes.longest - piece.size)
            size, fresh = sum(carried.size for carried in row), 0
        row.append(piece)
        size, fresh = size + piece.size, fresh + piece.size
    yield from _row(text, row)


def _row(text: str, row: Sequence[_Span]) -> Iterator[_Span]:
    """One span over all of them, without surrounding blanks; nothing if there is nothing to see."""
    trimmed = _trimmed(text, Block(start=row[0].start, end=row[-1].end))
    if trimmed:
        yield _Span(trimmed.start, trimmed.end, sum(piece.size for piece in row))


def _carried_over(row: Sequence[_Span], overlap: int, room: int) -> list[_Span]:
    """The last pieces of a row that the next one begins with; never the whole row."""
    carried: list[_Span] = []
    left = min(overlap, room)
    for piece in reversed(row[1:]):
        left -= piece.size
        if left < 0:
            break
        carried.insert(0, piece)
    return carried


def _pieces(text: str, start: int, end: int, sizes: ChunkSizes) -> Iterator[_Span]:
    """Sentences; clauses and words of a sentence that is too long; parts of a word that is too long."""
    for sentence in _cut(_SENTENCE_END, text, start, end, sizes):
        if sentence.size <= sizes.longest:
            yield sentence
            continue
        for clause in _cut(_CLAUSE_END, text, sentence.start, sentence.end, sizes):
            if clause.size <= sizes.longest:
                yield clause
            else:
                yield from _slices(text, clause.start, clause.end, sizes)


def _cut(after: re.Pattern[str], text: str, start: int, end: int, sizes: ChunkSizes) -> Iterator[_Span]:
    ends = (match.end() for match in after.finditer(text, start, end))
    bounds = dict.fromkeys((start, *ends, end))
    return (_Span(left, right, sizes.of(text[left:right])) for left, right in pairwise(bounds))


def _slices(text: str, start: int, end: int, sizes: ChunkSizes) -> Iterator[_Span]:
    """Equal parts of something without any gap, short enough for any script."""
    while start < end:
        cut = min(start + sizes.longest_dense, end)
        if cut < end:
            cut = _between_characters(text, start, cut)
        yield _Span(start, cut, sizes.of(text[start:cut]))
        start = cut


def _between_characters(text: str, start: int, cut: int) -> int:
    """`cut`, or a little before it, so that accents and joined emoji stay whole."""
    for place in range(cut, max(start, cut - _LONGEST_CLUSTER), -1):
        if not (combining(text[place]) or text[place] in _JOINERS or text[place - 1] == "\u200d"):
            return place
    return cut
