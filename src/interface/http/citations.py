"""What an answer rests on, as clients see it: at the end of its stream, and in the history."""

import msgspec

from llm_backend.domain.citations import Citation


class ClaimOut(msgspec.Struct):
    """Characters `answer_start` to `answer_end` of the answer rest on `start` to `end` of the document."""

    answer_start: int
    answer_end: int
    start: int
    end: int


class CitationOut(msgspec.Struct):
    """A source that the answer names as `[number]`; all places count Unicode code points.

    `quote` is what the document's text says from `start` to `end`, which has been compared when it is `verified`.
    """

    number: int
    doc_id: str
    doc_name: str
    start: int
    end: int
    page: int | None
    headings: list[str]
    quote: str
    verified: bool
    claims: list[ClaimOut]


def citation_out(citation: Citation) -> CitationOut:
    return CitationOut(
        number=citation.number,
        doc_id=citation.document,
        doc_name=citation.document_name,
        start=citation.start,
        end=citation.end,
        page=citation.page,
        headings=list(citation.headings),
        quote=citation.quote,
        verified=citation.verified,
        claims=[ClaimOut(one.answer_start, one.answer_end, one.start, one.end) for one in citation.claims],
    )
