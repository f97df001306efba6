"""Values that are stored inside of a column: as JSON in rows, as MessagePack in events.

Their names stay when those of the domain change.
"""

from collections.abc import Sequence

import msgspec

from llm_backend.domain.citations import Citation, Claim, Place, Source
from llm_backend.domain.conversations import Seam
from llm_backend.domain.filters import Attributes
from llm_backend.domain.ids import DocumentId, FileId
from llm_backend.domain.knowledge import Relevance
from llm_backend.domain.prompting import Grounding


class StoredClaim(msgspec.Struct, array_like=True, frozen=True):
    """A claim as it is stored."""

    answer_start: int
    answer_end: int
    start: int
    end: int


class StoredCitation(msgspec.Struct, omit_defaults=True, frozen=True):
    """A citation as it is stored."""

    number: int
    document: str
    document_name: str
    start: int
    end: int
    quote: str
    verified: bool
    page: int | None = None
    headings: tuple[str, ...] = ()
    claims: tuple[StoredClaim, ...] = ()
    file: str | None = None


class StoredPlace(msgspec.Struct, array_like=True, frozen=True):
    """A place as it is stored."""

    start: int
    page: int | None = None
    headings: tuple[str, ...] = ()


class StoredSource(msgspec.Struct, omit_defaults=True, frozen=True):
    """A source as it is stored. Before there were `places` there was one `page`."""

    number: int
    document: str
    document_name: str
    start: int
    quote: str
    verified: bool
    page: int | None = None
    places: tuple[StoredPlace, ...] = ()
    score: float | None = None
    file: str | None = None
    attributes: dict[str, str | bool | int | float] = {}


class StoredSeam(msgspec.Struct, frozen=True):
    """A seam as it is stored."""

    at: int
    model: str
    reason: str


class StoredGrounding(msgspec.Struct, omit_defaults=True, frozen=True):
    """What an answer rests on, as it is stored."""

    instructions: str
    sources: list[StoredSource]
    relevance: str = Relevance.HIGH.value


_decode_grounding = msgspec.json.Decoder(StoredGrounding).decode
_decode_citations = msgspec.json.Decoder(list[StoredCitation]).decode
_decode_attributes = msgspec.json.Decoder(dict[str, str | bool | int | float]).decode
_decode_seams = msgspec.json.Decoder(list[StoredSeam]).decode


def stored_citation(citation: Citation) -> StoredCitation:
    return StoredCitation(
        number=citation.number,
        document=citation.document,
        document_name=citation.document_name,
        start=citation.start,
        end=citation.end,
        quote=citation.quote,
        verified=citation.verified,
        page=citation.page,
        headings=citation.headings,
        claims=tuple(StoredClaim(one.answer_start, one.answer_end, one.start, one.end) for one in citation.claims),
        file=citation.file,
    )


def citation_from(stored: StoredCitation) -> Citation:
    return Citation(
        number=stored.number,
        document=DocumentId(stored.document),
        document_name=stored.document_name,
        start=stored.start,
        end=stored.end,
        page=stored.page,
        headings=stored.headings,
        quote=stored.quote,
        verified=stored.verified,
        claims=tuple(map(_claim_from, stored.claims)),
        file=None if stored.file is None else FileId(stored.file),
    )


def _claim_from(stored: StoredClaim) -> Claim:
    return Claim(answer_start=stored.answer_start, answer_end=stored.answer_end, start=stored.start, end=stored.end)


def citations_from(value: str) -> tuple[Citation, ...]:
    return tuple(map(citation_from, _decode_citations(value)))


def citations_value(citations: Sequence[Citation]) -> str:
    return msgspec.json.encode([stored_citation(citation) for citation in citations]).decode()


def stored_seam(seam: Seam) -> StoredSeam:
    return StoredSeam(seam.at, seam.model, seam.reason)


def seam_from(stored: StoredSeam) -> Seam:
    return Seam(at=stored.at, model=stored.model, reason=stored.reason)


def seams_from(value: str) -> tuple[Seam, ...]:
    return tuple(map(seam_from, _decode_seams(value)))


def seams_value(seams: Sequence[Seam]) -> str:
    return msgspec.json.encode([stored_seam(seam) for seam in seams]).decode()


def grounding_from(value: str) -> Grounding:
    stored = _decode_grounding(value)
    return Grounding(
        instructions=stored.instructions,
        sources=tuple(map(_source_from, stored.sources)),
        relevance=Relevance(stored.relevance),
    )


def grounding_value(grounding: Grounding) -> str:
    sources = [_stored_source(source) for source in grounding.sources]
    stored = StoredGrounding(grounding.instructions, sources, grounding.relevance.value)
    return msgspec.json.encode(stored).decode()


def _stored_source(source: Source) -> StoredSource:
    return StoredSource(
        number=source.number,
        document=source.document,
        document_name=source.document_name,
        start=source.start,
        quote=source.text,
        verified=source.verified,
        places=tuple(StoredPlace(place.start, place.page, place.headings) for place in source.places),
        score=source.score,
        file=source.file,
        attributes=dict(source.attributes),
    )


def _source_from(stored: StoredSource) -> Source:
    places = stored.places or (StoredPlace(stored.start, stored.page),)
    return Source(
        number=stored.number,
        document=DocumentId(stored.document),
        document_name=stored.document_name,
        start=stored.start,
        text=stored.quote,
        places=tuple(Place(start=place.start, page=place.page, headings=place.headings) for place in places),
        verified=stored.verified,
        score=stored.score,
        file=FileId(stored.file) if stored.file else None,
        attributes=stored.attributes,
    )


def attributes_value(attributes: Attributes) -> str | None:
    return msgspec.json.encode(attributes).decode() if attributes else None


def attributes_from(text: str | None) -> Attributes:
    return {} if text is None else _decode_attributes(text)
