"""Everything that is stored, in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from llm_backend.domain.ids import WriterId
from llm_backend.infrastructure.memory.answer_journal import MemoryAnswerJournal
from llm_backend.infrastructure.memory.answer_leases import MemoryAnswerLeases
from llm_backend.infrastructure.memory.api_keys import MemoryApiKeys, MemoryApiKeyViews
from llm_backend.infrastructure.memory.conversations import MemoryConversations, MemoryConversationViews
from llm_backend.infrastructure.memory.deleted_places import MemoryDeletedPlaces
from llm_backend.infrastructure.memory.file_views import MemoryFileViews
from llm_backend.infrastructure.memory.files import MemoryFiles
from llm_backend.infrastructure.memory.idempotency import MemoryIdempotencyRecords
from llm_backend.infrastructure.memory.jobs import MemoryJobs
from llm_backend.infrastructure.memory.knowledge import MemoryDocuments, MemoryKnowledgeBases
from llm_backend.infrastructure.memory.knowledge_views import MemoryKnowledgeViews
from llm_backend.infrastructure.memory.reindexings import MemoryReindexings
from llm_backend.infrastructure.memory.responses import MemoryResponses, MemoryResponseViews
from llm_backend.infrastructure.memory.sealed_secrets import MemorySealedSecrets
from llm_backend.infrastructure.memory.tables import Committed, Place
from llm_backend.infrastructure.memory.taken_over import MemoryTakenOver
from llm_backend.infrastructure.memory.usage import MemoryUsageLog
from llm_backend.infrastructure.memory.users import MemoryRevocations, MemorySessionViews, MemoryUsers
from llm_backend.infrastructure.memory.vector_stores import MemoryVectorStores


class MemoryUnitOfWork:
    """Works on a copy, which takes the place of what everybody sees at `commit`."""

    def __init__(self, committed: Committed) -> None:
        self._committed = committed
        self._staged = Place(committed.tables.copy())
        self.users = MemoryUsers(self._staged)
        self.revocations = MemoryRevocations(self._staged)
        self.api_keys = MemoryApiKeys(self._staged)
        self.conversations = MemoryConversations(self._staged)
        self.responses = MemoryResponses(self._staged)
        self.knowledge_bases = MemoryKnowledgeBases(self._staged)
        self.documents = MemoryDocuments(self._staged)
        self.reindexings = MemoryReindexings(self._staged)
        self.files = MemoryFiles(self._staged)
        self.vector_stores = MemoryVectorStores(self._staged)
        self.idempotency = MemoryIdempotencyRecords(self._staged)
        self.deleted_places = MemoryDeletedPlaces(self._staged)
        self.taken_over = MemoryTakenOver(self._staged)

    async def commit(self) -> None:
        self._committed.tables = self._staged.tables
        self._staged.tables = self._committed.tables.copy()


class MemoryStore:
    """The stored things of one product, gone with the process. One unit of work at a time: do not open a second one
    inside the first, nor write to the journal there."""

    def __init__(self) -> None:
        self._committed = Committed()
        self.session_views = MemorySessionViews(self._committed)
        self.api_key_views = MemoryApiKeyViews(self._committed)
        self.usage = MemoryUsageLog(self._committed)
        self.conversation_views = MemoryConversationViews(self._committed)
        self.knowledge_views = MemoryKnowledgeViews(self._committed)
        self.file_views = MemoryFileViews(self._committed)
        self.response_views = MemoryResponseViews(self._committed)
        me = WriterId(str(uuid4()))
        self.journal = self.journal_of(me)
        self.leases = self.leases_of(me)
        self.jobs = MemoryJobs()
        self.sealed_secrets = MemorySealedSecrets(self._committed)

    def journal_of(self, me: WriterId) -> MemoryAnswerJournal:
        return MemoryAnswerJournal(self._committed, me)

    def leases_of(self, me: WriterId) -> MemoryAnswerLeases:
        return MemoryAnswerLeases(self._committed, me)

    async def check(self) -> None:
        """It is always there."""

    @asynccontextmanager
    async def transactions(self) -> AsyncIterator[MemoryUnitOfWork]:
        async with self._committed.lock:
            yield MemoryUnitOfWork(self._committed)
