"""Finding the passages of a knowledge base that a question is about."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from llm_backend.application.mending import IndexState
from llm_backend.application.ports.cache import Cache
from llm_backend.application.ports.embedder import Embedder, Embedders, Vector
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.reranker import Reranker
from llm_backend.application.ports.views import FindableDocument, KnowledgeViews
from llm_backend.application.using_stores import NoteUse
from llm_backend.domain.chunking import search_text_of
from llm_backend.domain.errors import (
    ApiKeyRequired,
    IndexUnavailable,
    InvalidQuery,
    TooManyKnowledgeBases,
    UnknownEmbeddingModel,
    UpstreamFailed,
)
from llm_backend.domain.filters import Condition, matches
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    DocumentSummary,
    EmbeddingSpace,
    Found,
    KnowledgeBase,
    Passage,
    Relevance,
    ScoreParts,
)
from llm_backend.domain.ranking import Candidate, Ranked, distinct, fused, looked_for, merged, reranked
from llm_backend.domain.relevance import relevance_of
from llm_backend.domain.text import is_storable

LONGEST_QUERY = 8192  # characters
MOST_PASSAGES = 100
MOST_KNOWLEDGE_BASES = 100
SUMMARIES_KEPT_FOR = timedelta(hours=1)
# Candidates by words and by vector. Deeper only when deleted documents crowd them out, or documents have changed.
DEPTHS = (100, 400, 1600)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A knowledge base to search, and with what. `documents`: those that a filter lets through; `is_all`: which were
    all of them, so that the index need not look at that."""

    base: KnowledgeBase
    embedder: Embedder | None
    vector: Vector | None
    documents: Collection[DocumentId] | None
    is_all: bool = False

    def admits(self, document: DocumentId) -> bool:
        """Also of those that have come since the filter was asked."""
        return self.documents is None or document in self.documents

    @property
    def cosine_weight(self) -> float:
        return self.embedder.cosine_weight if self.embedder and self.vector is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hits:
    """What a knowledge base has to offer, and the documents that it is in."""

    target: _Target
    candidates: Sequence[Candidate] = ()
    documents: Mapping[DocumentId, FindableDocument]

    @property
    def lacks_vectors(self) -> bool:
        return self.target.vector is None or any(
            self.documents[one.stored.document].by_words_alone for one in self.candidates
        )


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Search knowledge bases by words and by meaning; best first, at least `threshold` good."""

    views: KnowledgeViews
    embedders: Embedders
    index: PassageIndex
    folding: Folding
    summaries: CorpusSummaries
    state: IndexState
    note_use: NoteUse
    threshold: float = 0.0
    reranker: Reranker | None = None

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        query: str,
        *,
        also: Sequence[KnowledgeBaseId] = (),
        where: Condition | None = None,
        top_k: int = 5,
        threshold: float | None = None,
        explain: bool = False,
    ) -> Found:
        """At most `top_k` passages of all these knowledge bases together, from documents that satisfy `where`: none but
        those that are listed do. Their `parts` are filled in when `explain` is set.

        `query` is 1 to 8192 characters, not all blank, `top_k` 1 to 100, `threshold` 0 to 1, and there are at most 100
        knowledge bases. Raises `TooManyKnowledgeBases`, `KnowledgeBaseNotFound`, `VectorStoreExpired`, then
        `InvalidQuery`; `IndexUnavailable` also when the index has lost a whole knowledge base: to find nothing would be
        a lie.
        """
        bases = await self._bases(owner, [knowledge_base, *also])
        bound = self.threshold if threshold is None else threshold
        _check(query, top_k, bound)
        text = self.folding(query)
        targets = await self._targets(bases, text, where)
        try:
            hits = await asyncio.gather(*(self._hits(target, text, top_k, where) for target in targets))
        except IndexUnavailable:
            self.state.suspect()
            raise
        documents = {document: one for found in hits for document, one in found.documents.items()}
        ranked, is_complete = await self._reranked(query, distinct(_fused(text, hits)), documents, top_k)
        chosen = [one for one in ranked if one.score >= bound][:top_k]
        return Found(
            passages=[_passage(one, documents, explain=explain) for one in chosen],
            degraded=self.state.incomplete or not is_complete or any(found.lacks_vectors for found in hits),
            relevance=_relevance(text, chosen, hits),
        )

    async def _bases(self, owner: UserId, names: Iterable[KnowledgeBaseId]) -> list[KnowledgeBase]:
        wanted = list(dict.fromkeys(names))
        if len(wanted) > MOST_KNOWLEDGE_BASES:
            raise TooManyKnowledgeBases
        await self.note_use(owner, wanted)
        return [await self.views.knowledge_base(owner, name) for name in wanted]

    async def _targets(self, bases: Sequence[KnowledgeBase], text: str, where: Condition | None) -> list[_Target]:
        asked: dict[tuple[EmbeddingSpace, bytes | None], Vector | None] = {}
        return [await self._target(base, text, where, asked) for base in bases]

    async def _target(
        self,
        base: KnowledgeBase,
        text: str,
        where: Condition | None,
        asked: dict[tuple[EmbeddingSpace, bytes | None], Vector | None],
    ) -> _Target:
        """`asked`: vectors of the same question, which are not asked for again."""
        embedder = self._embedder(base)
        vector = None
        if embedder is not None:
            corpus = await self.summaries.get(base.id, embedder, self.views)
            key = base.space, corpus
            if key not in asked:
                asked[key] = await _vector(embedder, text, corpus)
            vector = asked[key]
        documents, is_all = await self._documents(base, where)
        return _Target(base=base, embedder=embedder, vector=vector, documents=documents, is_all=is_all)

    def _embedder(self, base: KnowledgeBase) -> Embedder | None:
        """None when the configuration no longer has the model or its key, or has it with other dimensions."""
        try:
            embedder = self.embedders.get(base.space.model)
        except (UnknownEmbeddingModel, ApiKeyRequired):
            return None
        return embedder if embedder.space == base.space else None

    async def _documents(
        self, base: KnowledgeBase, where: Condition | None
    ) -> tuple[Collection[DocumentId] | None, bool]:
        """What the database says now counts, so that changing an attribute takes no change of the index."""
        if where is None:
            return None, True
        documents = await self.views.documents(base.owner, base.id)
        found = await asyncio.to_thread(_satisfying, where, documents)
        return found, len(found) == len(documents) > 0

    async def _hits(self, target: _Target, text: str, wanted: int, where: Condition | None) -> _Hits:
        alive: list[Candidate] = []
        documents: Mapping[DocumentId, FindableDocument] = {}
        # Of what happened between that and this, a filter that was asked before both would know nothing.
        stamp = await self.views.statistics_stamp(target.base.id) if where is None else None
        for depth in DEPTHS:
            if target.documents is not None and not target.documents:
                return _Hits(target=target, documents={})
            found = await self._search(target, text, depth)
            documents = await self._findable(target.base, found)
            alive = [one for one in found if _is_current(one, documents) and target.admits(one.stored.document)]
            if not found:
                await self._check_that_it_is_not_lost(target.base)
            is_enough = len(alive) >= wanted or len(alive) == len(found) or len(found) < depth
            is_gone = await self._is_any_gone(target, found, documents, is_short=len(alive) < wanted)
            before, stamp = stamp, await self.views.statistics_stamp(target.base.id) if is_gone else stamp
            if is_enough and stamp == before and not _was_outrun(found, documents):
                break
            if is_gone and where is not None:
                allowed, is_all = await self._documents(target.base, where)
                target = replace(target, documents=allowed, is_all=is_all)
        return _Hits(target=target, candidates=alive, documents=documents)

    async def _is_any_gone(
        self,
        target: _Target,
        found: Sequence[Candidate],
        documents: Mapping[DocumentId, FindableDocument],
        *,
        is_short: bool,
    ) -> bool:
        """Whether documents are not there any more that were found, or, where little was, are to be searched alone.

        A new version may have taken their place since the index was asked, and then neither has been found.
        """
        if any(one.stored.document not in documents for one in found):
            return True
        if not is_short or not target.documents:
            return False
        allowed = list(target.documents)
        return len(await self.views.findable(target.base.owner, target.base.id, allowed)) < len(allowed)

    async def _search(self, target: _Target, text: str, limit: int) -> Sequence[Candidate]:
        base = target.base
        return await self.index.search(
            base.space,
            base.id,
            text=looked_for(text),
            vector=target.vector,
            limit=limit,
            documents=None if target.is_all else target.documents,
        )

    async def _check_that_it_is_not_lost(self, base: KnowledgeBase) -> None:
        if await self.index.size(base.space, base.id):
            return
        if listed := {document.id for document in await self.views.documents(base.owner, base.id)}:
            counts = await self.views.chunk_counts(base.space)
            if any(document in listed for document, _ in counts):
                raise IndexUnavailable

    async def _findable(self, base: KnowledgeBase, found: Sequence[Candidate]) -> Mapping[DocumentId, FindableDocument]:
        documents = list({candidate.stored.document: None for candidate in found})
        return await self.views.findable(base.owner, base.id, documents) if documents else {}

    async def _reranked(
        self, query: str, ranked: list[Ranked], documents: Mapping[DocumentId, FindableDocument], wanted: int
    ) -> tuple[list[Ranked], bool]:
        """And whether that could be done; as they are, otherwise."""
        if self.reranker is None or not ranked:
            return ranked, True
        shown = ranked[: max(self.reranker.depth, wanted)]
        texts = [_shown(one, documents) for one in shown]
        try:
            return reranked(shown, await self.reranker.rerank(query, texts)), True
        except UpstreamFailed:
            return ranked, False


async def _vector(embedder: Embedder, text: str, corpus: bytes | None) -> Vector | None:
    try:
        return await embedder.embed_query(text, corpus)
    except UpstreamFailed:
        return None  # words alone still find most of it


def _check(query: str, top_k: int, threshold: float) -> None:
    if not query.strip() or len(query) > LONGEST_QUERY or not is_storable(query):
        raise InvalidQuery
    if not 1 <= top_k <= MOST_PASSAGES or not 0 <= threshold <= 1:
        raise InvalidQuery


def _satisfying(where: Condition, documents: Sequence[DocumentSummary]) -> Collection[DocumentId]:
    return {document.id: None for document in documents if matches(where, document.facts)}.keys()


def _is_current(candidate: Candidate, documents: Mapping[DocumentId, FindableDocument]) -> bool:
    document = documents.get(candidate.stored.document)
    return document is not None and document.attempt == candidate.stored.attempt


def _was_outrun(found: Sequence[Candidate], documents: Mapping[DocumentId, FindableDocument]) -> bool:
    """Whether a document that was found by its words has got its vectors since the index was asked."""
    attempts = {(one.stored.document, one.stored.attempt) for one in found}
    return any((document, one.attempt) not in attempts for document, one in documents.items())


def _fused(text: str, hits: Sequence[_Hits]) -> list[Ranked]:
    """What is in one space is fused together, as full-text scores of one table can be compared."""
    alike: dict[tuple[EmbeddingSpace, float], list[Candidate]] = defaultdict(list)
    for found in hits:
        alike[found.target.base.space, found.target.cosine_weight] += found.candidates
    return merged(fused(candidates, cosine_weight=weight, query=text) for (_, weight), candidates in alike.items())


def _relevance(text: str, chosen: Sequence[Ranked], hits: Sequence[_Hits]) -> Relevance:
    """The best that can be said of what was chosen from any of the knowledge bases."""
    said = {relevance_of(text, _of(found, chosen), found.candidates, _related_cosine(found)) for found in hits}
    return next((relevance for relevance in Relevance if relevance in said), Relevance.NONE)


def _of(found: _Hits, chosen: Sequence[Ranked]) -> list[Candidate]:
    return [one.candidate for one in chosen if one.candidate.stored.knowledge_base == found.target.base.id]


def _related_cosine(found: _Hits) -> float:
    return found.target.embedder.related_cosine if found.target.embedder else 1.0


def _shown(ranked: Ranked, documents: Mapping[DocumentId, FindableDocument]) -> str:
    """What a reranking model sees of a passage."""
    stored = ranked.candidate.stored
    return search_text_of(documents[stored.document].name, stored.chunk)


def _passage(ranked: Ranked, documents: Mapping[DocumentId, FindableDocument], *, explain: bool) -> Passage:
    stored = ranked.candidate.stored
    return Passage(
        knowledge_base=stored.knowledge_base,
        document=stored.document,
        document_name=documents[stored.document].name,
        chunk=stored.chunk,
        score=ranked.score,
        parts=ranked.parts if explain else ScoreParts(),
    )
