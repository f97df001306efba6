"""Two processes on one PostgreSQL keep the promises of one: whatever is asked, the one or the other is asked."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import cycle

import pytest

from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.application.ports.responses import ResponseViews
from llm_backend.application.ports.sessions import SessionViews
from llm_backend.application.ports.unit_of_work import UnitOfWork
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews
from llm_backend.domain.ids import WriterId
from llm_backend.infrastructure.sql import PostgresServer, SqlStore
from llm_backend.testing.contracts.answer_journal import AnswerJournalContract
from llm_backend.testing.contracts.answer_leases import AnswerLeasesContract
from llm_backend.testing.contracts.idempotency import IdempotencyContract
from llm_backend.testing.contracts.knowledge import DocumentsContract, KnowledgeBasesContract
from llm_backend.testing.contracts.revocations import RevocationsContract
from llm_backend.testing.contracts.unit_of_work import UnitOfWorkContract
from llm_backend.testing.contracts.users import UsersContract

ME = WriterId("either")


class Replicas:
    """The stores of several processes behind a balancer that takes turns. To the journal they are one, as it lets
    only the process that holds an answer write to it."""

    def __init__(self, *stores: SqlStore) -> None:
        self._turns = cycle(stores)
        self._journals = cycle([store.journal_of(ME) for store in stores])
        self._leases = cycle([store.leases_of(ME) for store in stores])

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
    def response_views(self) -> ResponseViews:
        return next(self._turns).response_views

    @property
    def journal(self) -> AnswerJournal:
        return next(self._journals)

    @property
    def leases(self) -> AnswerLeases:
        return next(self._leases)

    def journal_of(self, me: WriterId) -> AnswerJournal:
        return next(self._turns).journal_of(me)

    def leases_of(self, me: WriterId) -> AnswerLeases:
        return next(self._turns).leases_of(me)


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


class TestAnswerLeasesOfReplicas(AnswerLeasesContract): ...
