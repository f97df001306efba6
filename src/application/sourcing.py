"""What of knowledge bases an answer should rest on."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from llm_backend.application.ending import ended
from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.retrieval import LONGEST_QUERY, Retrieve
from llm_backend.application.rewriting import RewriteQuestion
from llm_backend.domain.conversations import Thread
from llm_backend.domain.errors import DocumentNotFound
from llm_backend.domain.filters import Condition, matches
from llm_backend.domain.ids import ApiKeyId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Chunk, DocumentSummary, Found, Passage, Relevance
from llm_backend.domain.outline import outline
from llm_backend.domain.overview import asks_for_overview, named
from llm_backend.domain.ranking import fused_by_rank

MOST_CHUNKS = 2000  # of a document that its outline is made of
SMALLEST_OUTLINE = 200  # tokens: what a document gets at least, if it gets anything


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSearch:
    """Where to look, at which documents, and for how many passages, which are at least `threshold` good: from 0 to 1,
    None for the configured one."""

    knowledge_bases: Sequence[KnowledgeBaseId]
    limit: int = 5
    where: Condition | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Passages to answer from. An outline: they are not what was found but the beginnings of documents' sections.
    `queries` are what was searched for."""

    passages: Sequence[Passage] = ()
    relevance: Relevance = Relevance.HIGH
    is_outline: bool = False
    queries: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FindSources:
    """Search for what a question is about; for questions about whole documents, outline these."""

    views: KnowledgeViews
    retrieve: Retrieve
    folding: Folding
    rewrite: RewriteQuestion | None = None

    async def __call__(
        self,
        owner: UserId,
        search: DocumentSearch,
        thread: Thread,
        question: str,
        *,
        budget: int,
        key: ApiKeyId | None = None,
    ) -> Material:
        """Without passages when there is nothing relevant. An outline takes up to `budget` tokens. `key` is charged for
        putting the question in other words. Raises what `Retrieve` does."""
        await self.retrieve.note_use(owner, search.knowledge_bases)  # an outline is made without a search
        documents = await self._documents(owner, search)
        query = question.strip()[:LONGEST_QUERY]
        if documents and asks_for_overview(question, documents, self.folding):
            meant = named(question, documents, self.folding) or _of_last_answer(thread, documents) or documents
            return Material(passages=await self._outlines(owner, meant, budget), is_outline=True, queries=[query])
        found, queries = await self._found(owner, search, thread, query, key)
        if not found.relevant:
            return Material(relevance=Relevance.NONE, queries=queries)
        return Material(passages=found.passages, relevance=found.relevance, queries=queries)

    async def _documents(self, owner: UserId, search: DocumentSearch) -> list[DocumentSummary]:
        listed = [await self.views.documents(owner, shelf) for shelf in search.knowledge_bases]
        where = search.where
        return [one for documents in listed for one in documents if where is None or matches(where, one.facts)]

    async def _outlines(self, owner: UserId, documents: Sequence[DocumentSummary], budget: int) -> list[Passage]:
        shown = documents[-max(budget // SMALLEST_OUTLINE, 1) :]  # the newest
        passages: list[Passage] = []
        for document in shown:
            with suppress(DocumentNotFound):  # it has been deleted since
                chunks = await self.views.document_chunks(owner, document.id, limit=MOST_CHUNKS)
                passages += [_passage(document, chunk) for chunk in outline(chunks, budget // len(shown))]
        return passages

    async def _found(
        self, owner: UserId, search: DocumentSearch, thread: Thread, question: str, key: ApiKeyId | None
    ) -> tuple[Found, list[str]]:
        """By the question as it is, and by what it means after what was said before; and what was searched for."""
        rewriting = asyncio.create_task(self._rewritten(thread, question, key))
        try:
            found = await self._retrieved(owner, search, question)
            query = await rewriting
        finally:
            await ended(rewriting)
        if query is None:
            return found, [question]
        return _together(found, await self._retrieved(owner, search, query), search.limit), [question, query]

    async def _retrieved(self, owner: UserId, search: DocumentSearch, query: str) -> Found:
        first, *also = search.knowledge_bases
        return await self.retrieve(
            owner, first, query, also=also, where=search.where, top_k=search.limit, threshold=search.threshold
        )

    async def _rewritten(self, thread: Thread, question: str, key: ApiKeyId | None) -> str | None:
        return await self.rewrite(thread, question, key=key) if self.rewrite else None


def _passage(document: DocumentSummary, chunk: Chunk) -> Passage:
    return Passage(
        knowledge_base=document.knowledge_base,
        document=document.id,
        document_name=document.name,
        chunk=chunk,
        score=1.0,
    )


def _of_last_answer(thread: Thread, documents: Sequence[DocumentSummary]) -> list[DocumentSummary]:
    """What "this document" is after an answer that rests on one."""
    cited = {citation.document for message in thread.messages[-1:] for citation in message.citations}
    return [document for document in documents if document.id in cited]


def _together(found: Found, other: Found, top_k: int) -> Found:
    useful = [one for one in (found, other) if one.relevant]
    if not useful:
        return found
    return Found(
        passages=fused_by_rank([one.passages for one in useful])[:top_k],
        degraded=found.degraded or other.degraded,
        relevance=Relevance.HIGH if any(one.relevance is Relevance.HIGH for one in useful) else Relevance.LOW,
    )
