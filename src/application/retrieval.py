"""Finding the passages of a knowledge base that a question is about."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from llm_backend.application.mending import IndexState
from llm_backend.application.ports.cache import Cache
from llm_backend.application.ports.embedder import Embedder, Embedders, Vector
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.views import KnowledgeViews, ReadyDocument
from llm_backend.domain.errors import IndexUnavailable, InvalidQuery, UnknownEmbeddingModel, UpstreamFailed
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Found, KnowledgeBase, Passage, Relevance, ScoreParts
from llm_backend.domain.ranking import Candidate, Ranked, distinct, fused
from llm_backend.domain.relevance import relevance_of
from llm_backend.domain.text import is_storable

LONGEST_QUERY = 8192  # characters
MOST_PASSAGES = 100
SUMMARIES_KEPT_FOR = timedelta(hours=1)
DEPTHS = (100, 400, 1600)  # candidates by words and by vector; deeper only when deleted documents crowd them out


class CorpusSummaries:
    """What embedders make of whole knowledge bases: kept until their documents change, and made once for all replicas.

    Summaries are cached under the state of the documents that they were made of, so none is ever out of date.
    """

    def __init__(self, cache: Cache, capacity: int = 64) -> None:
        self._cache = cache
        self._capacity = capacity
        self._kept: OrderedDict[KnowledgeBaseId, tuple[str, bytes | None]] = OrderedDict()

    async def get(self, knowledge_base: KnowledgeBaseId, embedder: Embedder, views: KnowledgeViews) -> bytes | None:
        """None when the embedder remembers nothing of documents."""
        space = embedder.space
        stamp = f"{space.model}:{space.dimensions}:{await views.statistics_stamp(knowledge_base)}"
        kept = self._kept.get(knowledge_base)
        if kept is None or kept[0] != stamp:
            key = f"corpus summary:{knowledge_base}:{stamp}"
            kept = stamp, await self._cache.get(key) or await self._made(key, knowledge_base, embedder, views)
        self._keep(knowledge_base, kept)
        return kept[1]

    async def _made(
        self, key: str, knowledge_base: KnowledgeBaseId, embedder: Embedder, views: KnowledgeViews
    ) -> bytes | None:
        statistics = await views.statistics(knowledge_base, embedder.space)
        if not statistics:
            return None
        summary = await asyncio.to_thread(embedder.summarise, statistics)
        await self._cache.set(key, summary, ttl=SUMMARIES_KEPT_FOR)
        return summary

    def _keep(self, knowledge_base: KnowledgeBaseId, summary: tuple[str, bytes | None]) -> None:
        self._kept[knowledge_base] = summary
        self._kept.move_to_end(knowledge_base)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Search one knowledge base by words and by meaning; best first, at least `threshold` good."""

    views: KnowledgeViews
    embedders: Embedders
    index: PassageIndex
    folding: Folding
    summaries: CorpusSummaries
    state: IndexState
    threshold: float = 0.0

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        query: str,
        *,
        top_k: int = 5,
        explain: bool = False,
    ) -> Found:
        """At most `top_k` passages, whose `parts` are filled in when `explain` is set.

        `query` is 1 to 8192 characters and `top_k` 1 to 100. Raises `KnowledgeBaseNotFound`, then `InvalidQuery`;
        `IndexUnavailable` also when the index has lost the whole knowledge base: to find nothing would be a lie.
        """
        shelf = await self.views.knowledge_base(owner, knowledge_base)
        _check(query, top_k)
        text = self.folding(query)
        embedder = self._embedder(shelf)
        vector = await self._vector(shelf, embedder, text)
        try:
            candidates, ready = await self._candidates(shelf, text, vector, top_k)
        except IndexUnavailable:
            self.state.suspect()
            raise
        ranked = distinct(fused(candidates, cosine_weight=embedder.cosine_weight if embedder and vector else 0.0))
        chosen = [one for one in ranked if one.score >= self.threshold][:top_k]
        return Found(
            passages=[_passage(one, ready, explain=explain) for one in chosen],
            degraded=vector is None or self.state.incomplete,
            relevance=_relevance(text, chosen, candidates, embedder.related_cosine if embedder else 1.0),
        )

    def _embedder(self, shelf: KnowledgeBase) -> Embedder | None:
        """None when the configuration no longer has the model, or has it with other dimensions."""
        try:
            embedder = self.embedders.get(shelf.space.model)
        except UnknownEmbeddingModel:
            return None
        return embedder if embedder.space == shelf.space else None

    async def _vector(self, shelf: KnowledgeBase, embedder: Embedder | None, text: str) -> Vector | None:
        if embedder is None:
            return None
        corpus = await self.summaries.get(shelf.id, embedder, self.views)
        try:
            return await embedder.embed_query(text, corpus)
        except UpstreamFailed:
            return None  # words alone still find most of it

    async def _candidates(
        self, shelf: KnowledgeBase, text: str, vector: Vector | None, wanted: int
    ) -> tuple[list[Candidate], Mapping[DocumentId, ReadyDocument]]:
        alive: list[Candidate] = []
        ready: Mapping[DocumentId, ReadyDocument] = {}
        for depth in DEPTHS:
            found = await self.index.search(shelf.space, shelf.id, text=text, vector=vector, limit=depth)
            ready = await self._ready(shelf, found)
            alive = [candidate for candidate in found if _is_current(candidate, ready)]
            if not found:
                await self._check_that_it_is_not_lost(shelf)
            if len(alive) >= wanted or len(alive) == len(found) or len(found) < depth:
                break
        return alive, ready

    async def _check_that_it_is_not_lost(self, shelf: KnowledgeBase) -> None:
        if await self.index.size(shelf.space, shelf.id):
            return
        if listed := {document.id for document in await self.views.documents(shelf.owner, shelf.id)}:
            counts = await self.views.chunk_counts(shelf.space)
            if any(document in listed for document, _ in counts):
                raise IndexUnavailable

    async def _ready(self, shelf: KnowledgeBase, found: Sequence[Candidate]) -> Mapping[DocumentId, ReadyDocument]:
        documents = list({candidate.stored.document: None for candidate in found})
        return await self.views.ready(shelf.owner, shelf.id, documents) if documents else {}


def _check(query: str, top_k: int) -> None:
    if not 1 <= len(query) <= LONGEST_QUERY or not is_storable(query) or not 1 <= top_k <= MOST_PASSAGES:
        raise InvalidQuery


def _is_current(candidate: Candidate, ready: Mapping[DocumentId, ReadyDocument]) -> bool:
    document = ready.get(candidate.stored.document)
    return document is not None and document.attempt == candidate.stored.attempt


def _relevance(
    text: str, chosen: Sequence[Ranked], candidates: Sequence[Candidate], related_cosine: float
) -> Relevance:
    return relevance_of(text, [one.candidate for one in chosen], candidates, related_cosine)


def _passage(ranked: Ranked, ready: Mapping[DocumentId, ReadyDocument], *, explain: bool) -> Passage:
    stored = ranked.candidate.stored
    return Passage(
        document=stored.document,
        document_name=ready[stored.document].name,
        chunk=stored.chunk,
        score=ranked.score,
        parts=ranked.candidate.parts if explain else ScoreParts(),
    )
