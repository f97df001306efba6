"""Knowledge bases as vector stores: make, note down about, look at, search, and let end."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from llm_backend.application.knowledge import DeleteKnowledgeBase
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.embedder import Embedders
from llm_backend.application.ports.file_views import FileViews, Slice
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.retrieval import Retrieve
from llm_backend.application.using_stores import UseVectorStore
from llm_backend.domain.errors import InvalidQuery, NotFound
from llm_backend.domain.filters import Condition
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import KnowledgeBase, Passage
from llm_backend.domain.vector_stores import Metadata, StoreFile, StoreSettings, VectorStore

UNNAMED = "Vector store"
MOST_QUERIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreChanges:
    """What is to be noted down about a vector store; None leaves a thing as it is."""

    name: str | None = None
    metadata: Metadata | None = None
    description: str | None = None
    expires_after: timedelta | None = None
    expires_never: bool = False

    def applied(self, settings: StoreSettings) -> StoreSettings:
        """Raises `InvalidMetadata`, `InvalidStoreExpiry`."""
        life = settings.expires_after if self.expires_after is None else self.expires_after
        return replace(
            settings,
            metadata=settings.metadata if self.metadata is None else self.metadata,
            description=settings.description if self.description is None else self.description,
            expires_after=None if self.expires_never else life,
        )


@dataclass(frozen=True, slots=True)
class CreateVectorStore:
    """Make a knowledge base with settings, bound to the default embedding model unless another is named."""

    transactions: UnitOfWorkFactory
    embedders: Embedders
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        about: StoreChanges,
        *,
        embedding_model: str | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> KnowledgeBaseId:
        """The same key gives the same store. Raises `InvalidKnowledgeBaseName`, `InvalidMetadata`,
        `InvalidStoreExpiry`, `UnknownEmbeddingModel` or `IdempotencyMismatch`."""
        now = self.now()
        base = KnowledgeBase(
            id=KnowledgeBaseId(self.ids.uuid()),
            owner=owner,
            name=about.name or UNNAMED,
            space=self.embedders.space(embedding_model or self.embedders.names()[0]),
            created_at=now,
        )
        settings = about.applied(StoreSettings(last_active_at=now))
        try:
            return await self._add(base, settings, idempotency)
        except AlreadyRecorded:
            return await self._add(base, settings, idempotency)  # finds what the faster one made

    async def _add(
        self, base: KnowledgeBase, settings: StoreSettings, idempotency: IdempotencyKey | None
    ) -> KnowledgeBaseId:
        async with self.transactions() as work:
            if idempotency and (made := await work.idempotency.outcome(base.owner, idempotency)):
                return KnowledgeBaseId(made)
            await work.knowledge_bases.add(base)
            await work.vector_stores.configure(base.owner, base.id, settings)
            if idempotency:
                await work.idempotency.record(base.owner, idempotency, base.id, at=base.created_at)
            await work.commit()
        return base.id


@dataclass(frozen=True, slots=True)
class UpdateVectorStore:
    """Change what is noted down about a knowledge base, or its name. Its end, if it has one, is put off."""

    transactions: UnitOfWorkFactory
    views: FileViews
    now: Clock

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId, changes: StoreChanges) -> VectorStore:
        """The store after that. Raises `KnowledgeBaseNotFound`, `InvalidKnowledgeBaseName`, `InvalidMetadata` or
        `InvalidStoreExpiry`."""
        store = await self.views.vector_store(owner, knowledge_base)
        settings = changes.applied(replace(store.settings, last_active_at=self.now()))
        async with self.transactions() as work:
            if changes.name is not None:
                await work.knowledge_bases.rename(replace(store.base, name=changes.name))
            await work.vector_stores.configure(owner, knowledge_base, settings)
            await work.commit()
        return (await self.views.vector_store(owner, knowledge_base)).at(self.now())


@dataclass(frozen=True, slots=True)
class ListVectorStores:
    """The user's knowledge bases, by the time they were made."""

    views: FileViews
    now: Clock

    async def __call__(self, owner: UserId, part: Slice[KnowledgeBaseId]) -> Sequence[VectorStore]:
        """Raises `CursorNotFound` when what it is to begin or end at never was in the list."""
        now = self.now()
        return [store.at(now) for store in await self.views.vector_stores(owner, part)]


@dataclass(frozen=True, slots=True)
class FindVectorStore:
    """One knowledge base as a vector store."""

    views: FileViews
    now: Clock

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        """Raises `KnowledgeBaseNotFound`."""
        return (await self.views.vector_store(owner, knowledge_base)).at(self.now())


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage of a file that was found."""

    file: StoreFile
    passage: Passage


@dataclass(frozen=True, slots=True)
class SearchVectorStore:
    """Search one knowledge base for one or several questions; best first."""

    use: UseVectorStore
    views: FileViews
    retrieve: Retrieve

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        queries: Sequence[str],
        *,
        where: Condition | None = None,
        top_k: int = 10,
        threshold: float | None = None,
    ) -> Sequence[Hit]:
        """At most `top_k` passages, each once with the best of its scores. Raises `KnowledgeBaseNotFound`,
        `VectorStoreExpired`, then `InvalidQuery`, also when there are not 1 to 10 queries, or `IndexUnavailable`."""
        await self.use(owner, knowledge_base)
        if not 1 <= len(queries) <= MOST_QUERIES:
            raise InvalidQuery(f"A search takes 1 to {MOST_QUERIES} queries")
        searches = (
            self.retrieve(owner, knowledge_base, query, where=where, top_k=top_k, threshold=threshold)
            for query in dict.fromkeys(queries)
        )
        found = await asyncio.gather(*searches)
        passages = _best(passage for one in found for passage in one.passages)[:top_k]
        files = await self.views.files_of(owner, knowledge_base, [one.document for one in passages])
        return [Hit(file=files[one.document], passage=one) for one in passages if one.document in files]


def _best(passages: Iterable[Passage]) -> list[Passage]:
    best: dict[tuple[str, int], Passage] = {}
    for passage in sorted(passages, key=lambda one: -one.score):
        best.setdefault((passage.document, passage.chunk.position), passage)
    return list(best.values())


@dataclass(frozen=True, slots=True)
class SweepVectorStores:
    """Delete the knowledge bases whose end has come. Does nothing twice."""

    transactions: UnitOfWorkFactory
    delete: DeleteKnowledgeBase
    now: Clock

    async def __call__(self) -> None:
        now = self.now()
        async with self.transactions() as work:
            expiring = await work.vector_stores.expiring()
        for owner, knowledge_base, settings in expiring:
            if settings.expires_at is not None and now >= settings.expires_at:
                with suppress(NotFound):  # somebody else was faster
                    await self.delete(owner, knowledge_base)
