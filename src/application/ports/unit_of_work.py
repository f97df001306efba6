"""One transaction over all repositories."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from llm_backend.application.ports.deleted_places import DeletedPlaces
from llm_backend.application.ports.idempotency import IdempotencyRecords
from llm_backend.application.ports.taken_over import TakenOver
from llm_backend.domain.api_keys import ApiKeys
from llm_backend.domain.conversations import Conversations
from llm_backend.domain.files import Files
from llm_backend.domain.knowledge import Documents, KnowledgeBases
from llm_backend.domain.reindexing import Reindexings
from llm_backend.domain.responses import Responses
from llm_backend.domain.users import Revocations, Users
from llm_backend.domain.vector_stores import VectorStores


class UnitOfWork(Protocol):
    """All that is done through its repositories happens together at `commit`, or not at all.

    Without a `commit` before the end, nothing happened. Once `commit` has returned, it survives a power cut.
    Every method may raise `DatabaseUnavailable` or `StorageFull`.
    """

    @property
    def users(self) -> Users: ...

    @property
    def revocations(self) -> Revocations: ...

    @property
    def api_keys(self) -> ApiKeys: ...

    @property
    def conversations(self) -> Conversations: ...

    @property
    def responses(self) -> Responses: ...

    @property
    def knowledge_bases(self) -> KnowledgeBases: ...

    @property
    def documents(self) -> Documents: ...

    @property
    def reindexings(self) -> Reindexings: ...

    @property
    def files(self) -> Files: ...

    @property
    def vector_stores(self) -> VectorStores: ...

    @property
    def idempotency(self) -> IdempotencyRecords: ...

    @property
    def deleted_places(self) -> DeletedPlaces: ...

    @property
    def taken_over(self) -> TakenOver: ...

    async def commit(self) -> None: ...


class UnitOfWorkFactory(Protocol):
    """Open a unit of work: `async with transactions() as work: …; await work.commit()`.

    Hold it across no wait for anything but the database.
    """

    def __call__(self) -> AbstractAsyncContextManager[UnitOfWork]: ...
