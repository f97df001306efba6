"""Turning passages into what a prompt says about them, and what an answer may cite."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_backend.application.ports.clock import IdSource
from llm_backend.application.ports.file_views import FileViews
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.sourcing import Material
from llm_backend.domain.citations import Source
from llm_backend.domain.errors import MessageTooLong
from llm_backend.domain.ids import DocumentId, UserId
from llm_backend.domain.prompting import Grounding, knowledge_prompt, pack_passages, verified
from llm_backend.domain.vector_stores import StoreFile
from llm_backend.domain.window import estimated_tokens, room_for_sources

LONGEST_CONTEXT = 6000  # tokens of passages


@dataclass(frozen=True, slots=True)
class GroundAnswer:
    """Pack passages into instructions for a model; every source is compared with the stored text first."""

    views: KnowledgeViews
    ids: IdSource
    longest: int = LONGEST_CONTEXT

    def budget(self, question: str, window: int) -> int:
        """How many tokens of passages there may be in a prompt."""
        return min(self.longest, room_for_sources(question, window))

    async def __call__(self, owner: UserId, material: Material, *, question: str, window: int) -> Grounding:
        """Raises `MessageTooLong` when the question leaves no room for any passage."""
        room, budget = room_for_sources(question, window), self.budget(question, window)
        while sources := pack_passages(material.passages, budget):
            grounding = await self._grounding(owner, sources, material)
            if estimated_tokens(grounding.instructions) <= room:
                return grounding
            budget = budget * 2 // 3  # fences and headings take room as well
        raise MessageTooLong

    async def _grounding(self, owner: UserId, sources: Sequence[Source], material: Material) -> Grounding:
        checked = [await self._verified(owner, source) for source in sources]
        return Grounding(
            instructions=knowledge_prompt(
                checked, nonce=self.ids.uuid(), relevance=material.relevance, is_outline=material.is_outline
            ),
            sources=checked,
            relevance=material.relevance,
        )

    async def _verified(self, owner: UserId, source: Source) -> Source:
        return verified(source, await self.views.quotation(owner, source.document, source.start, source.end))


@dataclass(frozen=True, slots=True)
class NoteFiles:
    """Note down with each source the file that it is from, and what is known of that now: clients of `/v1` know files,
    also of a conversation that goes on elsewhere."""

    files: FileViews

    async def __call__(self, owner: UserId, material: Material, grounding: Grounding) -> Grounding:
        shelves = {passage.document: passage.knowledge_base for passage in material.passages}
        files: dict[DocumentId, StoreFile] = {}
        for shelf in dict.fromkeys(shelves.values()):
            there = [document for document, place in shelves.items() if place == shelf]
            files.update(await self.files.files_of(owner, shelf, there))
        return replace(
            grounding, sources=[_of_file(source, files.get(source.document)) for source in grounding.sources]
        )


def _of_file(source: Source, file: StoreFile | None) -> Source:
    return replace(source, file=file.file, attributes=dict(file.document.attributes)) if file else source
