"""What a document is about, from its own beginning and those of its sections."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

from llm_backend.domain.knowledge import Chunk
from llm_backend.domain.sentences import sentences
from llm_backend.domain.window import estimated_tokens

Size = Callable[[str], int]

FEW_SECTIONS = 4  # with fewer the text is as good as without headings
_LEADS = (3, 1)  # sentences of each section, as many as fit
_INTRODUCTION = 5  # sentences of the first


def outline(chunks: Sequence[Chunk], budget: int, *, size: Size = estimated_tokens) -> list[Chunk]:
    """Chunks, most of them cut, that fit into the budget and say most of the document as a whole, in its order.

    A short document is there as a whole; of a longer one each section's headings and first sentences, first without
    the deeper sections, then without some, evenly. Of a text without headings each chunk counts as a section.
    """
    if sum(size(chunk.text) for chunk in chunks) <= budget:
        return list(chunks)
    first, *others = _sections(chunks)
    introduction = _lead(first, _INTRODUCTION)
    return [introduction, *_fitting(others, budget - size(introduction.text), size)]


def _sections(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    """The first chunk of each."""
    beginnings = [next(group) for _, group in groupby(chunks, key=lambda chunk: chunk.headings)]
    return beginnings if len(beginnings) >= FEW_SECTIONS else chunks


def _fitting(sections: Sequence[Chunk], room: int, size: Size) -> Sequence[Chunk]:
    leads: Sequence[Chunk] = ()
    for number in _LEADS:
        leads = [_lead(section, number) for section in sections]
        if _needed(leads, size) <= room:
            return leads
    for depth in sorted({len(lead.headings) for lead in leads}, reverse=True)[1:]:
        upper = [lead for lead in leads if len(lead.headings) <= depth]
        if len(upper) >= FEW_SECTIONS and _needed(upper, size) <= room:
            return upper
    return _some(leads, room, size)


def _some(leads: Sequence[Chunk], room: int, size: Size) -> Sequence[Chunk]:
    """Every second, third … of them, so that they fit."""
    if room <= 0:
        return ()
    every = max(_needed(leads, size) // room, 1)
    while _needed(chosen := leads[every - 1 :: every], size) > room:
        every += 1
    return chosen


def _needed(leads: Sequence[Chunk], size: Size) -> int:
    return sum(size(lead.text) for lead in leads)


def _lead(chunk: Chunk, number: int) -> Chunk:
    """Its headings and that many sentences behind them."""
    end = 0
    for span in sentences(chunk.text):
        end = span.end
        number -= chunk.text[span.start : span.end].strip("# \t=") not in chunk.headings
        if not number:
            break
    return replace(chunk, text=chunk.text[:end], end=chunk.start + end)
