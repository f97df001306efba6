"""Knowledge bases and their documents: create, list, delete."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from llm_backend.application.clearing import clear_away
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.ports.blobs import Blobs
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.embedder import Embedders
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.jobs import JobId, Jobs
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.uploads import call_off
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import DocumentState, DocumentSummary, KnowledgeBase


@dataclass(frozen=True, slots=True)
class CreateKnowledgeBase:
    """Make an empty knowledge base with one embedding model: the default one unless named."""

    transactions: UnitOfWorkFactory
    embedders: Embedders
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        name: str,
        embedding_model: str | None = None,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> KnowledgeBase:
        """Raises `InvalidKnowledgeBaseName`, `UnknownEmbeddingModel` or `IdempotencyMismatch`."""
        space = self.embedders.space(self.embedders.names()[0] if embedding_model is None else embedding_model)
        knowledge_base = KnowledgeBase(
            id=KnowledgeBaseId(self.ids.uuid()),
            owner=owner,
            name=name,
            space=space,
            created_at=self.now(),
        )
        try:
            return await self._add(knowledge_base, idempotency)
        except AlreadyRecorded:
            return await self._add(knowledge_base, idempotency)  # finds what the faster one made

    async def _add(self, knowledge_base: KnowledgeBase, idempotency: IdempotencyKey | None) -> KnowledgeBase:
        owner = knowledge_base.owner
        async with self.transactions() as work:
            if idempotency and (made := await work.idempotency.outcome(owner, idempotency)):
                return await work.knowledge_bases.get(owner, KnowledgeBaseId(made))
            await work.knowledge_bases.add(knowledge_base)
            if idempotency:
                await work.idempotency.record(owner, idempotency, knowledge_base.id, at=knowledge_base.created_at)
            await work.commit()
        return knowledge_base


@dataclass(frozen=True, slots=True)
class ListKnowledgeBases:
    """The user's knowledge bases, oldest first."""

    views: KnowledgeViews

    async def __call__(self, owner: UserId) -> Sequence[KnowledgeBase]:
        return await self.views.knowledge_bases(owner)


@dataclass(frozen=True, slots=True)
class DeleteKnowledgeBase:
    """Delete a knowledge base with its documents: gone from lists and searches when this returns.

    Their files, which may be many, go with the next sweep.
    """

    transactions: UnitOfWorkFactory
    views: KnowledgeViews
    index: PassageIndex

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> None:
        """Raises `KnowledgeBaseNotFound`."""
        documents = [document.id for document in await self.views.documents(owner, knowledge_base)]
        async with self.transactions() as work:
            await work.knowledge_bases.remove(owner, knowledge_base)
            spaces = await work.documents.spaces_of(documents)
            await work.commit()
        with suppress(DomainError):  # the tombstones stay, and the sweeper tries again
            for space, there in spaces.items():
                await self.index.remove(space, there)


@dataclass(frozen=True, slots=True)
class ListDocuments:
    """The documents of a knowledge base that are ready, oldest first."""

    views: KnowledgeViews

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> Sequence[DocumentSummary]:
        """Raises `KnowledgeBaseNotFound`."""
        return await self.views.documents(owner, knowledge_base)


@dataclass(frozen=True, slots=True)
class DeleteDocument:
    """Delete a document, however far it has come: gone from lists and searches when this returns.

    So is its own file, unless a job is at work on it, which clears up then.
    """

    transactions: UnitOfWorkFactory
    index: PassageIndex
    blobs: Blobs
    jobs: Jobs
    runner: JobRunner

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId, document: DocumentId) -> None:
        """Raises `KnowledgeBaseNotFound` or `DocumentNotFound`."""
        async with self.transactions() as work:
            await work.knowledge_bases.get(owner, knowledge_base)
            found = await work.documents.find(document)
            await work.documents.bury(owner, knowledge_base, document)
            spaces = await work.documents.spaces_of([document])
            await work.commit()
        if found and found[0].state is DocumentState.PENDING:
            await call_off(self.jobs, self.runner, JobId(document))
            return
        await clear_away(self.index, self.blobs, spaces, [document])


@dataclass(frozen=True, slots=True)
class ListEmbeddingModels:
    """The names of the embedding models that can be chosen, the default first."""

    embedders: Embedders

    def __call__(self) -> Sequence[str]:
        return self.embedders.names()
