"""Turning passages into what a prompt says about them, and what an answer may cite."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.ports.clock import IdSource
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.domain.ids import UserId
from llm_backend.domain.knowledge import Passage
from llm_backend.domain.prompting import Grounding, Source, knowledge_prompt, pack_passages, verified


@dataclass(frozen=True, slots=True)
class GroundAnswer:
    """Pack passages into instructions for a model; every quote is compared with the stored text first."""

    views: KnowledgeViews
    ids: IdSource
    budget: int = 12_000  # characters of passages in a prompt

    async def __call__(self, owner: UserId, passages: Sequence[Passage]) -> Grounding:
        sources = [await self._verified(owner, source) for source in pack_passages(passages, self.budget)]
        return Grounding(
            instructions=knowledge_prompt(sources, nonce=self.ids.uuid()),
            sources=[source.citation for source in sources],
        )

    async def _verified(self, owner: UserId, source: Source) -> Source:
        citation = source.citation
        stored = await self.views.quotation(owner, citation.document, citation.start, citation.end)
        return verified(source, stored)
