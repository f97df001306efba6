"""Models that turn text into vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import EmbeddingSpace

Vector = bytes  # little-endian float32, one per dimension, of length 1 (L2) or all zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One vector per text, in order; `statistics` is what the embedder wants to be shown again at every query."""

    vectors: Sequence[Vector]
    statistics: bytes | None = None


class Embedder(Protocol):
    """One embedding model.

    A lexical embedder weighs terms by how rare they are in the corpus: it returns `statistics` for each document,
    which are stored beside it, and is shown those of the whole knowledge base with each query.
    """

    @property
    def space(self) -> EmbeddingSpace: ...

    @property
    def cosine_weight(self) -> float:
        """The share, 0 to 1, that the cosine should have in a fused score; the rest is the full-text score's."""

    async def embed_document(self, texts: Sequence[str], corpus: Mapping[DocumentId, bytes]) -> Embedded:
        """Vectors of the passages of one document. Raises `EmbeddingFailed`."""

    async def embed_query(self, text: str, corpus: Mapping[DocumentId, bytes]) -> Vector:
        """The vector of a question about that corpus. Raises `EmbeddingFailed`."""


class Embedders(Protocol):
    """The embedding models that are configured."""

    def names(self) -> Sequence[str]:
        """The default first."""

    def get(self, name: str) -> Embedder:
        """Raises `UnknownEmbeddingModel`."""
