"""SQLite keeps the promises of every port of stored things."""

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
from llm_backend.testing.contracts.taken_over import TakenOverContract
from llm_backend.testing.contracts.unit_of_work import UnitOfWorkContract
from llm_backend.testing.contracts.usage import UsageLogContract
from llm_backend.testing.contracts.users import SessionViewsContract, UsersContract
from llm_backend.testing.contracts.views import ConversationViewsContract


class TestSqlUsers(UsersContract): ...


class TestSqlSessionViews(SessionViewsContract): ...


class TestSqlRevocations(RevocationsContract): ...


class TestSqlUnitOfWork(UnitOfWorkContract): ...


class TestSqlIdempotencyRecords(IdempotencyContract): ...


class TestSqlApiKeys(ApiKeysContract): ...


class TestSqlUsageLog(UsageLogContract): ...


class TestSqlTakenOver(TakenOverContract): ...


class TestSqlConversations(ConversationsContract): ...


class TestSqlConversationViews(ConversationViewsContract): ...


class TestSqlKnowledgeBases(KnowledgeBasesContract): ...


class TestSqlDocuments(DocumentsContract): ...


class TestSqlAnswerJournal(AnswerJournalContract): ...


class TestSqlResponses(ResponsesContract): ...


class TestSqlConversationItems(ConversationItemsContract): ...


class TestSqlAnswerLeases(AnswerLeasesContract): ...


class TestSqlSealedSecrets(SealedSecretsContract): ...


class TestSqlIngestion(IngestionContract): ...


class TestSqlReindexings(ReindexingsContract): ...


class TestSqlDocumentContents(DocumentContentsContract): ...


class TestSqlFiles(FilesContract): ...


class TestSqlVectorStores(VectorStoresContract): ...


class TestSqlDeletedPlaces(DeletedPlacesContract): ...
