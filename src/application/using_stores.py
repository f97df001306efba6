"""Knowledge bases that have an end as vector stores: whoever uses one puts it off."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from llm_backend.application.ports.clock import Clock
from llm_backend.application.ports.file_views import FileViews
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.vector_stores import VectorStore

TOUCHED_EVERY = timedelta(minutes=10)  # not at every search
LOOKED_AT_EVERY = timedelta(minutes=1)  # nor is there a look at each; an end is a day off, or more
REMEMBERED = 1000  # knowledge bases


@dataclass(frozen=True, slots=True)
class UseVectorStore:
    """Look at a knowledge base that is about to be used, and put its end off, if it has one."""

    transactions: UnitOfWorkFactory
    views: FileViews
    now: Clock

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        """Raises `KnowledgeBaseNotFound`, `VectorStoreExpired`."""
        now = self.now()
        store = (await self.views.vector_store(owner, knowledge_base)).at(now)
        store.check_open()
        if store.settings.expires_after and now - store.settings.last_active_at >= TOUCHED_EVERY:
            async with self.transactions() as work:
                await work.vector_stores.touch(knowledge_base, now)
                await work.commit()
        return store


@dataclass(frozen=True, slots=True)
class NoteUse:
    """The same for those who search, all the time: what was looked at a minute ago is not looked at again."""

    use: UseVectorStore
    _looked_at: dict[tuple[UserId, KnowledgeBaseId], datetime] = field(default_factory=dict, init=False, repr=False)

    async def __call__(self, owner: UserId, knowledge_bases: Iterable[KnowledgeBaseId]) -> None:
        """Raises `KnowledgeBaseNotFound`, `VectorStoreExpired`."""
        now = self.use.now()
        for knowledge_base in knowledge_bases:
            before = self._looked_at.get((owner, knowledge_base))
            if before is None or now - before >= LOOKED_AT_EVERY:
                await self.use(owner, knowledge_base)
                self._remember(owner, knowledge_base, now)

    def _remember(self, owner: UserId, knowledge_base: KnowledgeBaseId, now: datetime) -> None:
        self._looked_at.pop((owner, knowledge_base), None)
        self._looked_at[owner, knowledge_base] = now
        if len(self._looked_at) > REMEMBERED:
            del self._looked_at[next(iter(self._looked_at))]
