"""Where the sentences of a text begin and end, in any language that marks their ends."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# A full stop behind a single capital or one of these is that of an abbreviation, and three are an omission. Each look
# is at a fixed number of characters, so that a megabyte of full stops costs linear time.
_ABBREVIATED = r"(?<!\.\.)" + "".join(
    rf"(?<!\b{word})" for word in ("[A-Z]", "Dr", "Mr", "Ms", "Mrs", "Prof", "St", "No", "vs", "etc", r"e\.g", r"i\.e")
)
SENTENCE_END = re.compile(rf"(?:{_ABBREVIATED}\.|[!?])[\"'”’)\]]*(?=\s)|[。！？；｡][。！？；｡”’」』）】]*|\n")


class Span(NamedTuple):
    """Characters `start` to `end` of a text."""

    start: int
    end: int


def sentences(text: str) -> Iterator[Span]:
    """In order, without the blanks around them; none is empty. A line break ends a sentence as well."""
    start = 0
    for end in (*(match.end() for match in SENTENCE_END.finditer(text)), len(text)):
        piece = text[start:end]
        if visible := piece.strip():
            first = start + piece.index(visible[0])
            yield Span(first, first + len(visible))
        start = end
