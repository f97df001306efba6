"""Vectors of large documents, which do not all fit into memory."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from llm_backend.application.ports.embedder import Embedded, Embedder
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace

# Passages whose vectors are made, indexed and stored together. Of 1,024 dimensions they are 8 MB, of which there are
# some copies on the way; those of a book of ten megabytes would be 200.
PART = 2_000
SAMPLED = 64  # passages of a large document from which its statistics are made: the hashing embedder looks at 16


async def in_parts(embedder: Embedder, texts: Sequence[str], part: int) -> AsyncGenerator[tuple[int, Embedded]]:
    """The vectors of a document's passages, `part` of them at a time, and which each time is the first. The statistics
    are always those of the whole document. Raises what `embed_document` raises."""
    statistics = await _statistics(embedder, texts)
    for first in range(0, len(texts), part):
        embedded = await embedder.embed_document(texts[first : first + part])
        yield first, replace(embedded, statistics=statistics)


async def store_part(
    transactions: UnitOfWorkFactory,
    document: DocumentId,
    attempt: int,
    space: EmbeddingSpace,
    first: int,
    embedded: Embedded,
) -> bool:
    """In a commit of its own. False when the document is not wanted any more, or somebody else is at it."""
    async with transactions() as work:
        stored = await work.documents.store_vectors(
            document, attempt, space, embedded.vectors, embedded.statistics, first=first
        )
        await work.commit()
    return stored


async def _statistics(embedder: Embedder, texts: Sequence[str]) -> bytes | None:
    """Those of a few passages from everywhere stand for all."""
    if not embedder.is_lexical:
        return None
    return (await embedder.embed_document(texts[:: -(-len(texts) // SAMPLED)])).statistics
