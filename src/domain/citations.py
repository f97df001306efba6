"""What an answer rests on, down to the character."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.domain.ids import DocumentId

MARKER = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Source `[number]` of an answer: `quote` is characters `start` to `end` (Unicode code points) of the document.

    `page` counts from 1 where the document has pages. `verified` says that the quote was compared with the
    stored text when the citation was made.
    """

    number: int
    document: DocumentId
    document_name: str
    start: int
    end: int
    page: int | None = None
    quote: str
    verified: bool


def cited(answer: str, sources: Sequence[Citation]) -> tuple[Citation, ...]:
    """The sources that the answer names as `[n]`, by number. Numbers that no source has are ignored."""
    named = {int(number) for number in MARKER.findall(answer)}
    return tuple(source for source in sources if source.number in named)
