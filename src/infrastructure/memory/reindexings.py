"""Moves of knowledge bases between embedding spaces, in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llm_backend.domain.errors import EmbeddingModelInUse, ReindexingInProgress
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, ReindexingId, UserId
from llm_backend.domain.knowledge import DocumentState, EmbeddingSpace, KnowledgeBase
from llm_backend.domain.reindexing import Reindexing, ReindexingState
from llm_backend.infrastructure.memory.knowledge import knowledge_base_of, lacking, unread, with_embedding
from llm_backend.infrastructure.memory.tables import Place


@dataclass(frozen=True, slots=True)
class MemoryReindexings:
    """Moves by id, newest last."""

    place: Place

    async def start(self, owner: UserId, reindexing: Reindexing) -> None:
        shelf = knowledge_base_of(self.place.tables, owner, reindexing.knowledge_base)
        if await self.running(shelf.id):
            raise ReindexingInProgress
        if shelf.space != reindexing.source:
            raise EmbeddingModelInUse
        self._put(reindexing)

    async def running(self, knowledge_base: KnowledgeBaseId) -> Reindexing | None:
        found = [one for one in self._of(knowledge_base) if one.state is ReindexingState.RUNNING]
        return found[0] if found else None

    async def previous(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, *, kept_since: datetime
    ) -> EmbeddingSpace | None:
        shelf = self.place.tables.knowledge_bases.get(knowledge_base)
        if shelf is None or shelf.owner != owner:
            return None
        done = [one for one in self._of(knowledge_base) if one.state is ReindexingState.DONE]
        here = [one for one in done if one.target == shelf.space and _ended_since(one, kept_since)]
        return here[-1].source if here else None

    async def finish(self, reindexing: ReindexingId, *, at: datetime) -> bool:
        tables = self.place.tables
        found = tables.reindexings.get(reindexing)
        if found is None or lacking(tables, found.knowledge_base, found.target):
            return False
        if not self._end(reindexing, ReindexingState.DONE, None, at):
            return False
        shelf = tables.knowledge_bases[found.knowledge_base]
        tables.knowledge_bases[shelf.id] = replace(shelf, space=found.target)
        unread(tables, shelf.id)
        return True

    async def fail(self, reindexing: ReindexingId, reason: str, *, at: datetime) -> bool:
        return self._end(reindexing, ReindexingState.FAILED, reason, at)

    async def cancel(self, owner: UserId, knowledge_base: KnowledgeBaseId, *, at: datetime) -> bool:
        shelf = self.place.tables.knowledge_bases.get(knowledge_base)
        running = await self.running(knowledge_base)
        if shelf is None or shelf.owner != owner or running is None:
            return False
        return self._end(running.id, ReindexingState.CANCELLED, None, at)

    async def unsettled(self, *, kept_since: datetime) -> Sequence[KnowledgeBaseId]:
        shelves = self.place.tables.knowledge_bases.values()
        return [one.id for one in shelves if await self.running(one.id) or list(self._unwanted(one, kept_since))]

    async def withdraw_unwanted(
        self, knowledge_base: KnowledgeBaseId, *, kept_since: datetime
    ) -> Sequence[tuple[DocumentId, EmbeddingSpace]]:
        tables = self.place.tables
        shelf = tables.knowledge_bases.get(knowledge_base)
        unwanted = list(self._unwanted(shelf, kept_since)) if shelf else []
        for document, space in unwanted:
            tables.documents[document] = with_embedding(tables.documents[document], space, complete=False)
        return unwanted

    async def drop(self, withdrawn: Sequence[tuple[DocumentId, EmbeddingSpace]]) -> None:
        rows = self.place.tables.documents
        for document, space in withdrawn:
            row = rows.get(document)
            if row and space in row.embeddings and not row.embeddings[space].complete:
                others = {each: embedded for each, embedded in row.embeddings.items() if each != space}
                rows[document] = replace(row, embeddings=others)

    async def forget_before(self, moment: datetime) -> int:
        moves = self.place.tables.reindexings
        old = [one.id for one in moves.values() if one.ended_at is not None and one.ended_at < moment]
        for one in old:
            del moves[one]
        return len(old)

    def _of(self, knowledge_base: KnowledgeBaseId) -> list[Reindexing]:
        return [one for one in self.place.tables.reindexings.values() if one.knowledge_base == knowledge_base]

    def _put(self, reindexing: Reindexing) -> None:
        self.place.tables.reindexings[reindexing.id] = reindexing

    def _end(self, reindexing: ReindexingId, state: ReindexingState, reason: str | None, at: datetime) -> bool:
        found = self.place.tables.reindexings.get(reindexing)
        if found is None or found.state is not ReindexingState.RUNNING:
            return False
        self._put(replace(found, state=state, reason=reason, ended_at=at))
        return True

    def _unwanted(self, shelf: KnowledgeBase, kept_since: datetime) -> Iterator[tuple[DocumentId, EmbeddingSpace]]:
        wanted = {shelf.space, *(_kept(one, kept_since) for one in self._of(shelf.id))}
        for row in self.place.tables.documents.values():
            if row.document.knowledge_base == shelf.id and row.document.state is not DocumentState.DELETED:
                yield from ((row.document.id, space) for space in row.embeddings if space not in wanted)


def _ended_since(reindexing: Reindexing, moment: datetime) -> bool:
    return reindexing.ended_at is not None and reindexing.ended_at >= moment


def _kept(reindexing: Reindexing, since: datetime) -> EmbeddingSpace | None:
    match reindexing.state:
        case ReindexingState.RUNNING:
            return reindexing.target
        case ReindexingState.DONE if _ended_since(reindexing, since):
            return reindexing.source
        case ReindexingState.FAILED if _ended_since(reindexing, since):
            return reindexing.target
        case _:
            return None
