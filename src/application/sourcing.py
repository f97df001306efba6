"""What of a knowledge base an answer should rest on."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from llm_backend.application.ports.folding import Folding
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.retrieval import LONGEST_QUERY, Retrieve
from llm_backend.application.rewriting import RewriteQuestion
from llm_backend.domain.conversations import Thread
from llm_backend.domain.errors import DocumentNotFound
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Chunk, DocumentSummary, Found, Passage, Relevance
from llm_backend.domain.outline import outline
from llm_backend.domain.overview import asks_for_overview, named
from llm_backend.domain.ranking import fused_by_rank

MOST_CHUNKS = 2000  # of a document that its outline is made of
SMALLEST_OUTLINE = 200  # tokens: what a document gets at least, if it gets anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Passages to answer from. An outline: they are not what was found but the beginnings of documents' sections."""

    passages: Sequence[Passage] = ()
    relevance: Relevance = Relevance.HIGH
    is_outline: bool = False


@dataclass(frozen=True, slots=True)
class FindSources:
    """Search for what a question is about; for questions about whole documents, outline these."""

    views: KnowledgeViews
    retrieve: Retrieve
    folding: Folding
    rewrite: RewriteQuestion | None = None

    async def __call__(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, thread: Thread, question: str, *, top_k: int, budget: int
    ) -> Material:
        """Without passages when there is nothing relevant. An outline takes up to `budget` tokens. Raises what
        `Retrieve` does."""
        documents = await self.views.documents(owner, knowledge_base)
        if documents and asks_for_overview(question, documents, self.folding):
            meant = named(question, documents, self.folding) or _of_last_answer(thread, documents) or documents
            return await self._outlines(owner, knowledge_base, meant, budget)
        found = await self._found(owner, knowledge_base, thread, question[:LONGEST_QUERY], top_k)
        if not found.relevant:
            return Material(relevance=Relevance.NONE)
        return Material(passages=found.passages, relevance=found.relevance)

    async def _outlines(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, documents: Sequence[DocumentSummary], budget: int
    ) -> Material:
        shown = documents[-max(budget // SMALLEST_OUTLINE, 1) :]  # the newest
        passages: list[Passage] = []
        for document in shown:
            with suppress(DocumentNotFound):  # it has been deleted since
                chunks = await self.views.document_chunks(owner, document.id, limit=MOST_CHUNKS)
                passages += [
                    _passage(knowledge_base, document, chunk) for chunk in outline(chunks, budget // len(shown))
                ]
        return Material(passages=passages, is_outline=True)

    async def _found(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, thread: Thread, question: str, top_k: int
    ) -> Found:
        """By the question as it is, and by what it means after what was said before."""
        rewriting = asyncio.create_task(self._rewritten(thread, question))
        try:
            found = await self.retrieve(owner, knowledge_base, question, top_k=top_k)
            query = await rewriting
        finally:
            rewriting.cancel()
            await asyncio.wait([rewriting])
        if query is None:
            return found
        return _together(found, await self.retrieve(owner, knowledge_base, query, top_k=top_k), top_k)

    async def _rewritten(self, thread: Thread, question: str) -> str | None:
        return await self.rewrite(thread, question) if self.rewrite else None


def _passage(knowledge_base: KnowledgeBaseId, document: DocumentSummary, chunk: Chunk) -> Passage:
    return Passage(
        knowledge_base=knowledge_base, document=document.id, document_name=document.name, chunk=chunk, score=1.0
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
