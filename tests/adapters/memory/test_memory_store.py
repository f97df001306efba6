import pytest

from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.contracts.answer_journal import AnswerJournalContract
from llm_backend.testing.contracts.conversations import ConversationsContract
from llm_backend.testing.contracts.idempotency import IdempotencyContract
from llm_backend.testing.contracts.knowledge import DocumentsContract, KnowledgeBasesContract
from llm_backend.testing.contracts.revocations import RevocationsContract
from llm_backend.testing.contracts.store import Store
from llm_backend.testing.contracts.unit_of_work import UnitOfWorkContract
from llm_backend.testing.contracts.users import SessionViewsContract, UsersContract
from llm_backend.testing.contracts.views import ConversationViewsContract


@pytest.fixture
def store() -> Store:
    return MemoryStore()


class TestUnitOfWork(UnitOfWorkContract):
    pass


class TestUsers(UsersContract):
    pass


class TestRevocations(RevocationsContract):
    pass


class TestSessionViews(SessionViewsContract):
    pass


class TestConversations(ConversationsContract):
    pass


class TestConversationViews(ConversationViewsContract):
    pass


class TestAnswerJournal(AnswerJournalContract):
    pass


class TestIdempotency(IdempotencyContract):
    pass


class TestKnowledgeBases(KnowledgeBasesContract):
    pass


class TestDocuments(DocumentsContract):
    pass
