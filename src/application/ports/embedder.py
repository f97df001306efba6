"""Models that turn text into vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_backend.domain.knowledge import EmbeddingSpace

Vector = bytes  # little-endian float32, one per dimension, of length 1 (L2) or all zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One vector per text, in order; `statistics` is what the embedder wants to remember of the document."""

    vectors: Sequence[Vector]
    statistics: bytes | None = None


class Embedder(Protocol):
    """One embedding model.

    A lexical embedder weighs the terms of a question by how rare they are in the corpus. It returns `statistics` for
    each document, which are stored beside it; `summarise` adds up those of a knowledge base, and what comes out is
    shown again with each query. Vectors of documents never depend on other documents.
    """

    @property
    def space(self) -> EmbeddingSpace: ...

    @property
    def is_lexical(self) -> bool:
        """Whether it goes by spellings alone, so that any words do for which nobody asks for a meaning."""

    @property
    def cosine_weight(self) -> float:
        """The share, 0 to 1, that the cosine should have in a fused score; the rest is the full-text score's."""

    @property
    def related_cosine(self) -> float:
        """From this cosine on, a passage has to do with a question even if they share no word."""

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        """Vectors of the passages of one document. Raises `EmbeddingFailed`, of which `EmbeddingKeyRejected` will not
        pass by itself."""

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:
        """The vector of a question, `corpus` being what `summarise` returned. Raises `EmbeddingFailed`."""

    def summarise(self, statistics: Sequence[bytes]) -> bytes:
        """What these documents, or a sample of a larger corpus, tell together. Pure, and safe in a thread."""


class Embedders(Protocol):
    """The embedding models that are configured."""

    def names(self) -> Sequence[str]:
        """The default first; also of those that lack a key."""

    def space(self, name: str) -> EmbeddingSpace:
        """Where vectors of a model live, which may lack a key for the moment. Raises `UnknownEmbeddingModel`."""

    def get(self, name: str) -> Embedder:
        """Raises `UnknownEmbeddingModel`, or `ApiKeyRequired` when its server wants a key and there is none."""
