"""Clearing away what is left of documents that are gone."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from llm_backend.application.ports.blobs import BlobKey, Blobs
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace


async def clear_away(
    index: PassageIndex, blobs: Blobs, spaces: Iterable[EmbeddingSpace], documents: Sequence[DocumentId]
) -> None:
    """Their own files and their passages, as far as that is possible now: the tombstones stay, and the sweeper tries
    again."""
    with suppress(DomainError):
        await blobs.delete([BlobKey(document) for document in documents])
    with suppress(DomainError):
        for space in spaces:
            await index.remove(space, documents)
