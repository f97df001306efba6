"""An embedding model without a model: it compares spellings, offline, and costs next to nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.ports.embedder import Embedded, Vector
from llm_backend.domain.knowledge import EmbeddingSpace

NAME = "hash-1024"
DIMENSIONS = 1024


@dataclass(frozen=True, slots=True)
class HashEmbedder:
    """Lexical vectors of folded texts: words, pieces of words, and Chinese or Japanese characters with neighbours.

    Finds other forms and misspellings of a word, but no synonyms. Deterministic, on every machine. Rare words count
    more than frequent ones, by what `summarise` tells of the corpus; documents are embedded without it. Measured on
    SciFact, nDCG@10 of the cosine alone: 0.52 without rarity, 0.62 with it in the query, 0.64 with it on both sides,
    where every new document would change the vectors of all others.
    """

    cosine_weight: float = 0.4
    related_cosine: float = 0.35
    is_lexical: bool = True

    @property
    def space(self) -> EmbeddingSpace:
        return EmbeddingSpace(model=NAME, dimensions=DIMENSIONS)

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        return await asyncio.to_thread(_embedded, texts)

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:
        from llm_backend.infrastructure.embedding import lexical

        found, counts = lexical.features(text)
        weights = lexical.damped(counts)
        if corpus is not None:
            weights = weights * lexical.rarity(found, corpus)
        return lexical.vector(found, weights, DIMENSIONS).tobytes()

    def summarise(self, statistics: Sequence[bytes]) -> bytes:
        from llm_backend.infrastructure.embedding import lexical

        return lexical.corpus_summary(statistics)


def _embedded(texts: Sequence[str]) -> Embedded:
    from llm_backend.infrastructure.embedding import lexical

    sample = lexical.sampled(len(texts))
    vectors, remembered = list[Vector](), list[lexical.Hashes]()
    for number, text in enumerate(texts):  # what is found in one takes as much memory as its vector
        found, counts = lexical.features(text)
        vectors.append(lexical.vector(found, lexical.damped(counts), DIMENSIONS).tobytes())
        if number in sample:
            remembered.append(found)
    return Embedded(vectors=vectors, statistics=lexical.document_statistics(remembered))
