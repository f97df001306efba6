"""Everything that can go wrong and that a caller can be told about.

`DomainError` has a few kinds, which an outer layer turns into statuses, and each kind has precise leaves. `code`
is stable and meant for programs; the message is meant for people. Anything else that is raised is a bug.

Long because: whoever wants to know what can go wrong finds all of it here.
"""

from datetime import timedelta
from typing import ClassVar, Literal


class DomainError(Exception):
    """The root. `str(error)` is fit for the user; `error.code` is stable."""

    code: ClassVar[str] = "error"
    default_message: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.default_message)


# Kinds ---------------------------------------------------------------------------------------------------------------


class Invalid(DomainError):
    """What was asked for makes no sense, and asking again will not help."""

    code = "invalid"
    default_message = "The request is not valid"


class CursorNotFound(Invalid):
    """A page is to begin or end at something that the list does not have and, for all that is remembered, never had.
    `param` says which of its ends that is."""

    code = "cursor_not_found"
    default_message = "The list has nothing by the id that the page was to begin or end at"

    def __init__(self, message: str | None = None, *, param: Literal["after", "before"]) -> None:
        super().__init__(message or f"{self.default_message} ({param})")
        self.param = param


class Unauthenticated(DomainError):
    """Nobody known is asking."""

    code = "unauthenticated"
    default_message = "Missing or invalid token"


class Forbidden(DomainError):
    """Somebody known is asking for what they may not do."""

    code = "forbidden"
    default_message = "This is not allowed"


class NotFound(DomainError):
    """It does not exist, or belongs to somebody else: the two look the same."""

    code = "not_found"
    default_message = "Not found"


class Conflict(DomainError):
    """It cannot be done now, because of what is there or what is running."""

    code = "conflict"
    default_message = "The request conflicts with the current state"


class TooLarge(DomainError):
    """More than the configured limit."""

    code = "too_large"
    default_message = "The request is too large"


class Unsupported(DomainError):
    """A kind of content that nothing here can read."""

    code = "unsupported"
    default_message = "This kind of content is not supported"


class QuotaExceeded(DomainError):
    """Too much at once; `retry_after` says when to come back."""

    code = "quota_exceeded"
    default_message = "Too many requests"

    def __init__(self, message: str | None = None, *, retry_after: timedelta = timedelta(seconds=1)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamFailed(DomainError):
    """A language model's server failed us. Its own words never appear in the message.

    `retry_after` is how long it asked to be left alone, if it did.
    """

    code = "upstream_failed"
    default_message = "The language model could not answer"

    def __init__(self, message: str | None = None, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(DomainError):
    """Something this service stands on is away for a while."""

    code = "unavailable"
    default_message = "The service is temporarily unavailable"


class StorageFull(DomainError):
    """There is no room left to store anything."""

    code = "storage_full"
    default_message = "The server has no storage left"


# Accounts ------------------------------------------------------------------------------------------------------------


class InvalidUsername(Invalid):
    code = "invalid_username"
    default_message = "The username must have 1 to 64 characters, without control characters or surrounding blanks"


class InvalidPassword(Invalid):
    code = "invalid_password"
    default_message = "The password must have 1 to 256 characters"


class UsernameTaken(Invalid):
    code = "username_taken"
    default_message = "Username already exists"


class UserNotFound(NotFound):
    code = "user_not_found"
    default_message = "There is no user by this name"


class WrongCredentials(Unauthenticated):
    code = "wrong_credentials"
    default_message = "Invalid username or password"


class TooManyAttempts(QuotaExceeded):
    code = "too_many_attempts"
    default_message = "Too many failed attempts, try again later"


class TooManyRegistrations(QuotaExceeded):
    code = "too_many_registrations"
    default_message = "Too many registrations from this address, try again later"


class Overloaded(QuotaExceeded):
    code = "overloaded"
    default_message = "The server is busy, try again in a moment"


# API keys ------------------------------------------------------------------------------------------------------------


class ApiKeyNotFound(NotFound):
    code = "api_key_not_found"
    default_message = "API key not found"


class InvalidKeyName(Invalid):
    code = "invalid_key_name"
    default_message = "The name of a key must have 1 to 255 characters, without control characters"


class InvalidKeyExpiry(Invalid):
    code = "invalid_key_expiry"
    default_message = "A key must end in the future"


class TooManyApiKeys(Conflict):
    code = "too_many_api_keys"
    default_message = "There are too many keys; delete some first"


class ScopeMissing(Forbidden):
    code = "scope_missing"
    default_message = "This API key is not good for that"


# Conversations and answers -------------------------------------------------------------------------------------------


class ConversationNotFound(NotFound):
    code = "conversation_not_found"
    default_message = "Conversation not found"


class ConversationIdTaken(Conflict):
    code = "conversation_id_taken"
    default_message = "There is a conversation by this id already"


class AnswerNotFound(NotFound):
    code = "answer_not_found"
    default_message = "There is no such answer"


class ResponseNotFound(NotFound):
    code = "response_not_found"
    default_message = "Response not found"


class EventsForgotten(NotFound):
    """Those of a response that ended long ago. The response itself is there."""

    code = "events_forgotten"
    default_message = "The events of this response are no longer kept: retrieve it, or stream it from its beginning"


class PreviousResponseNotFound(NotFound):
    """Also when it is there, and one that it builds upon was deleted."""

    code = "previous_response_not_found"
    default_message = "The previous response, or one that it builds upon, was not found"


class ItemNotFound(NotFound):
    code = "item_not_found"
    default_message = "Item not found"


class InvalidInput(Invalid):
    code = "invalid_input"
    default_message = "The input makes no sense"


class InvalidTitle(Invalid):
    code = "invalid_title"
    default_message = "The title must have 1 to 255 characters"


class InvalidMessage(Invalid):
    code = "invalid_message"
    default_message = "The message must not be empty and must not contain NUL characters"


class MessageTooLong(Invalid):
    code = "message_too_long"
    default_message = "The message does not fit the model's context window"


class InvalidApiKey(Invalid):
    code = "invalid_api_key"
    default_message = "The API key must have 1 to 512 printable ASCII characters"


class UnknownModel(Invalid):
    code = "unknown_model"
    default_message = "No configured provider serves this model"


class ApiKeyRequired(Invalid):
    code = "api_key_required"
    default_message = "This model needs an API key, and the server has none for it"


class AnswerInProgress(Conflict):
    """`retry_after` is a guess: answers end when they end."""

    code = "answer_in_progress"
    default_message = "An answer is being written in this conversation"
    retry_after = timedelta(seconds=1)


class TooManyStreams(QuotaExceeded):
    code = "too_many_streams"
    default_message = "Too many answers are running at once"


class IdempotencyMismatch(Conflict):
    code = "idempotency_mismatch"
    default_message = "This Idempotency-Key was used with another request"


class InvalidIdempotencyKey(Invalid):
    code = "invalid_idempotency_key"
    default_message = "The Idempotency-Key must have 1 to 255 printable ASCII characters"


# Language models -----------------------------------------------------------------------------------------------------


class UpstreamTimeout(UpstreamFailed):
    code = "upstream_timeout"
    default_message = "The language model did not answer in time"


class UpstreamUnavailable(UpstreamFailed):
    code = "upstream_unavailable"
    default_message = "The language model's server is not available"


class UpstreamRejectedKey(UpstreamFailed):
    code = "upstream_rejected_key"
    default_message = "The language model's server rejected the API key"


class UpstreamRateLimited(UpstreamFailed):
    code = "upstream_rate_limited"
    default_message = "The language model's server is refusing requests because there were too many"


class UpstreamRejectedRequest(UpstreamFailed):
    code = "upstream_rejected_request"
    default_message = "The language model's server rejected the request"


class UpstreamProtocolError(UpstreamFailed):
    code = "upstream_protocol_error"
    default_message = "The language model's server sent something that cannot be understood"


class UpstreamCutOff(UpstreamFailed):
    code = "upstream_cut_off"
    default_message = "The language model's server broke off in the middle of the answer"


class ApiKeyUnreadable(UpstreamFailed):
    """The key it was sealed with is gone from the key ring."""

    code = "api_key_unreadable"
    default_message = "The API key of this conversation can no longer be read; create a new conversation"


class AnswerTooLong(UpstreamFailed):
    code = "answer_too_long"
    default_message = "The answer grew past the limit and was cut"


# Knowledge -----------------------------------------------------------------------------------------------------------


class KnowledgeBaseNotFound(NotFound):
    code = "knowledge_base_not_found"
    default_message = "Knowledge base not found"


class DocumentNotFound(NotFound):
    code = "document_not_found"
    default_message = "Document not found"


class OriginalNotKept(NotFound):
    code = "original_not_kept"
    default_message = "The file that this document was read from is not kept here; its text is"


class NothingRelevant(NotFound):
    code = "nothing_relevant"
    default_message = "The knowledge base has nothing relevant to say"


class InvalidKnowledgeBaseName(Invalid):
    code = "invalid_knowledge_base_name"
    default_message = "The name of a knowledge base must have 1 to 255 characters, without control characters"


class UnknownEmbeddingModel(Invalid):
    code = "unknown_embedding_model"
    default_message = "No such embedding model is configured"


class TokensNotUnderstood(Invalid):
    """Numbers in the place of texts, for a model whose tokenizer nobody here has."""

    code = "tokens_not_understood"
    default_message = "This model takes texts, not the numbers of tokens: which words those are, only a tokenizer knows"


class InvalidDimensions(Invalid):
    code = "invalid_dimensions"
    default_message = "The model has no vectors of that size"


class InvalidQuery(Invalid):
    code = "invalid_query"
    default_message = "The query must have 1 to 8192 characters, not all blank, top_k 1 to 100, threshold 0 to 1"


class InvalidFilter(Invalid):
    code = "invalid_filter"
    default_message = "The filter cannot be understood"


class TooManyKnowledgeBases(Invalid):
    code = "too_many_knowledge_bases"
    default_message = "A search takes 1 to 100 knowledge bases"


class InvalidAttributes(Invalid):
    code = "invalid_attributes"
    default_message = (
        "A document has at most 16 attributes: names of 1 to 64 characters other than doc_id, doc_name and file_type, "
        "with texts of at most 512 characters, numbers or booleans"
    )


class InvalidRange(Invalid):
    code = "invalid_range"
    default_message = (
        "start must not be negative, nor after end; after must be -1 or a position, and limit between 1 and 1000"
    )


class InvalidDocumentName(Invalid):
    code = "invalid_document_name"
    default_message = "The file needs a name of 1 to 255 characters, without control characters"


class DocumentTooLarge(TooLarge):
    code = "document_too_large"
    default_message = "The document is larger than the limit; upload it in parts"


class DocumentUnreadable(Invalid):
    """Damaged, or not what its name says."""

    code = "document_unreadable"
    default_message = "The document is damaged or is not what its name says; open it, save it anew and upload it again"


class DocumentEncrypted(Invalid):
    code = "document_encrypted"
    default_message = "The document is protected by a password; remove it and upload the document again"


class DocumentEmpty(Invalid):
    code = "document_empty"
    default_message = "The document contains no text"


class DocumentScanned(Invalid):
    """All that is in it are pictures."""

    code = "document_scanned"
    default_message = "The document has pictures but no text; run text recognition (OCR) over it and upload the result"


class UnsupportedDocument(Unsupported):
    code = "unsupported_document"
    default_message = "Documents of this type cannot be read"


class IngestionFailed(DomainError):
    """A bug, or a file that brought down whoever read it, again and again."""

    code = "ingestion_failed"
    default_message = "The document could not be processed"


class OriginalMissing(Unavailable):
    """Whoever was to read the document in does not keep its file; somebody else may."""

    code = "original_missing"
    default_message = "The uploaded file was not found where documents are read in"


class IngestionCancelled(Conflict):
    code = "ingestion_cancelled"
    default_message = "The processing of the document was cancelled"


class RerankingFailed(UpstreamFailed):
    code = "reranking_failed"
    default_message = "The reranking model's server could not be used"


class EmbeddingFailed(UpstreamFailed):
    code = "embedding_failed"
    default_message = "The embedding model's server could not be used"


class EmbeddingKeyRejected(EmbeddingFailed):
    """Asking again will not help before somebody has put the key right."""

    code = "embedding_rejected_key"
    default_message = "The embedding model's server rejected the API key"


class EmbeddingModelMissing(EmbeddingFailed):
    """Models are downloaded by a command, and never because somebody asks."""

    code = "embedding_model_missing"
    default_message = "The embedding model has not been downloaded; llm-backend models pull does that"


class EmbeddingModelChanged(Unavailable):
    """A document was embedded for a space that its knowledge base has left meanwhile. The next attempt is for the new
    one."""

    code = "embedding_model_changed"
    default_message = "The knowledge base has changed its embedding model in the meantime"


class ReindexingNotFound(NotFound):
    code = "reindexing_not_found"
    default_message = "The knowledge base has not changed its embedding model"


class ReindexingInProgress(Conflict):
    code = "reindexing_in_progress"
    default_message = "The knowledge base is changing its embedding model already"


class ReindexingFailed(DomainError):
    """A bug, or a document that brought down whoever embedded it, again and again."""

    code = "reindexing_failed"
    default_message = "The embedding model could not be changed"


class EmbeddingModelInUse(Conflict):
    code = "embedding_model_in_use"
    default_message = "The knowledge base uses this embedding model already"


class NothingToRollBack(Conflict):
    code = "nothing_to_roll_back"
    default_message = "There is no earlier embedding model whose vectors have been kept"


# Files and vector stores ---------------------------------------------------------------------------------------------


class StoredFileNotFound(NotFound):
    code = "file_not_found"
    default_message = "File not found"


class FileBatchNotFound(NotFound):
    code = "file_batch_not_found"
    default_message = "File batch not found"


class FileContentMissing(NotFound):
    """A document whose file was let go after it was read in, or is kept by another server alone."""

    code = "file_content_missing"
    default_message = "The content of this file is not kept here"


class FileBelongsElsewhere(Invalid):
    code = "file_belongs_elsewhere"
    default_message = "This file was uploaded into one knowledge base; upload it by itself to attach it to others"


class InvalidFileExpiry(Invalid):
    code = "invalid_file_expiry"
    default_message = "A file expires 1 hour to 30 days after it was made"


class InvalidChunking(Invalid):
    code = "invalid_chunking"
    default_message = "A chunk has 100 to 4096 tokens, and the overlap is at most half of that"


class InvalidMetadata(Invalid):
    code = "invalid_metadata"
    default_message = (
        "Metadata are at most 16 texts of at most 512 characters, under names of 1 to 64 characters; a description has "
        "at most 512 characters"
    )


class InvalidStoreExpiry(Invalid):
    code = "invalid_store_expiry"
    default_message = "A vector store expires 1 to 365 days after it was last used"


class VectorStoreExpired(Invalid):
    code = "vector_store_expired"
    default_message = "The vector store has expired"


class InvalidFileBatch(Invalid):
    code = "invalid_file_batch"
    default_message = "A batch names 1 to 500 files, each once"


# Storage -------------------------------------------------------------------------------------------------------------


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"
    default_message = "The database is temporarily unavailable"


class IndexUnavailable(Unavailable):
    code = "index_unavailable"
    default_message = "The search index is temporarily unavailable"


class BlobsUnavailable(Unavailable):
    code = "blobs_unavailable"
    default_message = "The store of uploaded files is temporarily unavailable"


class ShuttingDown(Unavailable):
    code = "shutting_down"
    default_message = "The server is shutting down"
