"""Citations as they are stored."""

import msgspec

from llm_backend.domain.citations import Citation
from llm_backend.domain.ids import DocumentId


class StoredCitation(msgspec.Struct, omit_defaults=True, frozen=True):
    """A citation as it is stored: its names stay when those of the domain change."""

    number: int
    document: str
    document_name: str
    start: int
    end: int
    quote: str
    verified: bool
    page: int | None = None


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
    )


def citation_from(stored: StoredCitation) -> Citation:
    return Citation(
        number=stored.number,
        document=DocumentId(stored.document),
        document_name=stored.document_name,
        start=stored.start,
        end=stored.end,
        page=stored.page,
        quote=stored.quote,
        verified=stored.verified,
    )
