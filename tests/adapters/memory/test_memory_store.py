from contextlib import suppress

import pytest

from llm_backend.application.ports import store as ports
from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.builders import a_conversation, a_user
from llm_backend.testing.contracts.answer_journal import AnswerJournalContract
from llm_backend.testing.contracts.answer_leases import AnswerLeasesContract
from llm_backend.testing.contracts.api_keys import ApiKeysContract
from llm_backend.testing.contracts.conversations import ConversationsContract
from llm_backend.testing.contracts.deleted_places import DeletedPlacesContract
from llm_backend.testing.contracts.document_contents import DocumentContentsContract
from llm_backend.testing.contracts.files import FilesContract, VectorStoresContract
from llm_backend.testing.contracts.idempotency import IdempotencyContract
from llm_backend.testing.contracts.ingestion import IngestionContract
from llm_backend.testing.contracts.knowledge import DocumentsContract, KnowledgeBasesContract
from llm_backend.testing.contracts.reindexings import ReindexingsContract
from llm_backend.testing.contracts.responses import ConversationItemsContract, ResponsesContract
from llm_backend.testing.contracts.revocations import RevocationsContract
from llm_backend.testing.contracts.sealed_secrets import SealedSecretsContract
from llm_backend.testing.contracts.store import ALICE, Store
from llm_backend.testing.contracts.taken_over import TakenOverContract
from llm_backend.testing.contracts.unit_of_work import UnitOfWorkContract
from llm_backend.testing.contracts.usage import UsageLogContract
from llm_backend.testing.contracts.users import SessionViewsContract, UsersContract
from llm_backend.testing.contracts.views import ConversationViewsContract
from llm_backend.testing.faults import faults_at_every_call


@pytest.fixture
def store() -> Store:
    return MemoryStore()


class TestUnitOfWork(UnitOfWorkContract):
    pass


class TestUsers(UsersContract):
    pass


class TestRevocations(RevocationsContract):
    pass


class TestSealedSecrets(SealedSecretsContract):
    pass


class TestSessionViews(SessionViewsContract):
    pass


class TestApiKeys(ApiKeysContract):
    pass


class TestUsageLog(UsageLogContract):
    pass


class TestConversations(ConversationsContract):
    pass


class TestConversationViews(ConversationViewsContract):
    pass


class TestAnswerJournal(AnswerJournalContract):
    pass


class TestResponses(ResponsesContract):
    pass


class TestConversationItems(ConversationItemsContract):
    pass


class TestAnswerLeases(AnswerLeasesContract):
    pass


class TestTakenOver(TakenOverContract):
    pass


class TestIdempotency(IdempotencyContract):
    pass


class TestKnowledgeBases(KnowledgeBasesContract):
    pass


class TestDocuments(DocumentsContract):
    pass


class TestDocumentContents(DocumentContentsContract):
    pass


class TestFiles(FilesContract):
    pass


class TestVectorStores(VectorStoresContract):
    pass


class TestDeletedPlaces(DeletedPlacesContract):
    pass


class TestIngestion(IngestionContract):
    pass


class TestReindexings(ReindexingsContract):
    pass


async def test_it_is_always_there() -> None:
    store: ports.Store = MemoryStore()

    await store.check()


async def test_whichever_call_fails_a_unit_of_work_is_done_wholly_or_not_at_all() -> None:
    outcomes = []

    for faults in faults_at_every_call(DatabaseUnavailable, only={"transactions", "add", "commit"}):
        store = MemoryStore()
        with suppress(DatabaseUnavailable):
            await register_and_create(faults.wrap(store))
        async with store.transactions() as work:
            user = await work.users.get(ALICE)
        outcomes.append((user is not None, len(await store.conversation_views.summaries(ALICE))))

    assert outcomes == [(False, 0)] * 4 + [(True, 1)]


async def register_and_create(store: Store) -> None:
    async with store.transactions() as work:
        await work.users.add(a_user(1))
        await work.conversations.add(a_conversation(10))
        await work.commit()
