"""Two processes on one PostgreSQL keep the promises of one: whatever is asked, the one or the other is asked."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import cycle

import pytest

from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.sessions import SessionViews
from llm_backend.application.ports.unit_of_work import UnitOfWork
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews
from llm_backend.infrastructure.sql import PostgresServer, SqlStore
from llm_backend.testing.contracts.answer_journal import AnswerJournalContract
from llm_backend.testing.contracts.idempotency import IdempotencyContract
from llm_backend.testing.contracts.knowledge import DocumentsContract, KnowledgeBasesContract
from llm_backend.testing.contracts.revocations import RevocationsContract
from llm_backend.testing.contracts.unit_of_work import UnitOfWorkContract
from llm_backend.testing.contracts.users import UsersContract


class Replicas:
    """The stores of several processes behind a balancer that takes turns."""

    def __init__(self, *stores: SqlStore) -> None:
        self._turns = cycle(stores)

    def transactions(self) -> AbstractAsyncContextManager[UnitOfWork]:
        return next(self._turns).transactions()

    @property
    def session_views(self) -> SessionViews:
        return next(self._turns).session_views

    @property
    def conversation_views(self) -> ConversationViews:
        return next(self._turns).conversation_views

    @property
    def knowledge_views(self) -> KnowledgeViews:
        return next(self._turns).knowledge_views

    @property
    def journal(self) -> AnswerJournal:
        return next(self._turns).journal


@pytest.fixture
async def store(postgres: PostgresServer) -> AsyncIterator[Replicas]:
    async with SqlStore.open_server(postgres) as first, SqlStore.open_server(postgres) as second:
        yield Replicas(first, second)


class TestUsersOfReplicas(UsersContract): ...


class TestRevocationsOfReplicas(RevocationsContract): ...


class TestUnitsOfWorkOfReplicas(UnitOfWorkContract): ...


class TestIdempotencyRecordsOfReplicas(IdempotencyContract): ...


class TestKnowledgeBasesOfReplicas(KnowledgeBasesContract): ...


class TestDocumentsOfReplicas(DocumentsContract): ...


class TestAnswerJournalOfReplicas(AnswerJournalContract): ...
