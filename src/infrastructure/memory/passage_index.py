"""`PassageIndex` in memory: small, exact and slow, for tests and for trying things out."""

import math
from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from llm_backend.application.ports.embedder import Vector
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import EmbeddingSpace, ScoreParts, StoredChunk
from llm_backend.domain.ranking import Candidate, terms

_Key = tuple[DocumentId, int, int]


class MemoryPassageIndex:
    """Chunks in a dictionary; every search looks at every chunk of its knowledge base."""

    def __init__(self) -> None:
        self._chunks: dict[EmbeddingSpace, dict[_Key, StoredChunk]] = {}

    async def add(
        self,
        space: EmbeddingSpace,
        chunks: Sequence[StoredChunk],
        *,
        new: bool = False,  # noqa: ARG002 - looking for what is to be replaced costs nothing here
    ) -> None:
        for stored in chunks:
            if stored.vector is not None and len(stored.vector) != 4 * space.dimensions:
                raise ValueError(f"a vector does not have {space.dimensions} dimensions")
        self._chunks.setdefault(space, {}).update({_key(stored): stored for stored in chunks})

    async def search(
        self,
        space: EmbeddingSpace,
        knowledge_base: KnowledgeBaseId,
        *,
        text: str,
        vector: Vector | None,
        limit: int,
        documents: Collection[DocumentId] | None = None,
    ) -> Sequence[Candidate]:
        mine = [
            one
            for one in self._chunks.get(space, {}).values()
            if one.knowledge_base == knowledge_base and (documents is None or one.document in documents)
        ]
        bm25 = _best(_rarities(mine, text), limit, above=0.0)
        asked = array("f", vector) if vector is not None and any(vector) else None
        cosines = {_key(one): _cosine(one, asked) for one in mine}
        comparable = {_key(one) for one in mine if one.vector is not None and asked is not None}
        nearest = _best({key: cosines[key] for key in comparable}, limit, above=-math.inf)
        return [
            Candidate(
                stored=replace(one, vector=None),
                parts=ScoreParts(
                    bm25=bm25[key][1] if key in bm25 else 0.0,
                    cosine=cosines[key],
                    text_rank=bm25[key][0] if key in bm25 else None,
                    vector_rank=nearest[key][0] if key in nearest else None,
                ),
            )
            for one in mine
            if (key := _key(one)) in bm25 or key in nearest
        ]

    async def remove(
        self, space: EmbeddingSpace, documents: Sequence[DocumentId], *, attempt: int | None = None
    ) -> None:
        mine = self._chunks.get(space, {}).items()
        gone = {key for key, one in mine if one.document in documents and attempt in {None, one.attempt}}
        self._chunks[space] = {key: one for key, one in mine if key not in gone}

    async def clear(self) -> None:
        self._chunks.clear()

    async def size(self, space: EmbeddingSpace, knowledge_base: KnowledgeBaseId | None = None) -> int:
        return sum(knowledge_base in {None, one.knowledge_base} for one in self._chunks.get(space, {}).values())

    async def holdings(self, space: EmbeddingSpace) -> Mapping[tuple[DocumentId, int], int]:
        return Counter((one.document, one.attempt) for one in self._chunks.get(space, {}).values())

    async def optimize(self, *, patience: timedelta | None = None) -> None:
        """Nothing to do."""


def _key(stored: StoredChunk) -> _Key:
    return stored.document, stored.attempt, stored.chunk.position


def _best(scores: dict[_Key, float], limit: int, *, above: float) -> dict[_Key, tuple[int, float]]:
    """The best `limit` of the scores above that bound, with their ranks."""
    ordered = sorted((item for item in scores.items() if item[1] > above), key=lambda item: (-item[1], item[0]))
    return {key: (rank, score) for rank, (key, score) in enumerate(ordered[:limit], start=1)}


def _rarities(chunks: Sequence[StoredChunk], text: str) -> dict[_Key, float]:
    """BM25 as far as rarity goes: how often a word occurs in a chunk counts for nothing here."""
    words = {_key(one): set(terms(one.chunk.search_text)) for one in chunks}
    scores = dict.fromkeys(words, 0.0)
    for word in terms(text):
        having = [key for key in words if word in words[key]]
        for key in having:
            scores[key] += math.log1p((len(words) - len(having) + 0.5) / (len(having) + 0.5))
    return scores


def _cosine(stored: StoredChunk, asked: "array[float] | None") -> float:
    if stored.vector is None or asked is None:
        return 0.0
    return sum(map(float.__mul__, array("f", stored.vector), asked))
