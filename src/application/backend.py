"""Everything the product can do, in one place: what HTTP, the command line and the library are faces of."""

from dataclasses import dataclass

from llm_backend.application.answering import (
    AskKnowledgeBase,
    Drain,
    FindAnswer,
    FollowAnswer,
    SendMessage,
    StopAnswer,
)
from llm_backend.application.api_keys import Authorize, CreateApiKey, DeleteApiKey, ListApiKeys
from llm_backend.application.compacting import CompactResponse
from llm_backend.application.completions import CompleteChat, StreamChat
from llm_backend.application.contents import ReadChunks, ReadContent, ReadOriginal
from llm_backend.application.conversation_items import (
    AddItems,
    DescribeConversation,
    OpenConversation,
    ReadItems,
    RemoveItem,
)
from llm_backend.application.conversations import (
    CreateConversation,
    DeleteConversation,
    ListConversations,
    ReadHistory,
)
from llm_backend.application.embeddings import EmbedTexts, EmbedVerbatim
from llm_backend.application.files import DeleteFile, FindFile, ListFiles, ReadFile, UploadFile
from llm_backend.application.health import CheckReadiness
from llm_backend.application.housekeeping import KeepHouse
from llm_backend.application.knowledge import (
    CreateKnowledgeBase,
    DeleteDocument,
    DeleteKnowledgeBase,
    ListDocuments,
    ListEmbeddingModels,
    ListKnowledgeBases,
)
from llm_backend.application.mending import Reindex, WatchIndex
from llm_backend.application.models import FindModel, ListModels
from llm_backend.application.recalling import RecallResponse
from llm_backend.application.reindexing import (
    CancelReindexing,
    CheckReindexing,
    RollBackReindexing,
    StartReindexing,
)
from llm_backend.application.responses import (
    CancelResponse,
    CountInput,
    DeleteResponse,
    FindResponse,
    ForgetResponse,
    Respond,
)
from llm_backend.application.retrieval import Retrieve
from llm_backend.application.store_files import (
    AttachFiles,
    CancelFileBatch,
    DescribeStoreFile,
    DetachFile,
    FindFileBatch,
    FindStoreFile,
    ListStoreFiles,
    ReadStoreFile,
)
from llm_backend.application.uploads import (
    CancelDocument,
    CheckDocument,
    DescribeDocument,
    FollowDocument,
    SubmitDocument,
    UploadDocument,
)
from llm_backend.application.usage import RecordUsage, ReportUsage
from llm_backend.application.users import Authenticate, ChangePassword, LogIn, LogOut, RegisterUser
from llm_backend.application.vector_stores import (
    CreateVectorStore,
    FindVectorStore,
    ListVectorStores,
    SearchVectorStore,
    UpdateVectorStore,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The use cases; call them: `await backend.list_conversations(owner)`.

    Each says which errors it raises; they are in `llm_backend.domain.errors`. What reads or stores anything raises
    `DatabaseUnavailable` or `StorageFull` as well, whether it says so or not.
    """

    register_user: RegisterUser
    log_in: LogIn
    log_out: LogOut
    change_password: ChangePassword
    authenticate: Authenticate

    create_api_key: CreateApiKey
    list_api_keys: ListApiKeys
    delete_api_key: DeleteApiKey
    authorize: Authorize

    list_models: ListModels
    find_model: FindModel
    complete_chat: CompleteChat
    stream_chat: StreamChat
    embed_texts: EmbedTexts
    embed_verbatim: EmbedVerbatim
    record_usage: RecordUsage
    report_usage: ReportUsage

    create_conversation: CreateConversation
    list_conversations: ListConversations
    read_history: ReadHistory
    delete_conversation: DeleteConversation

    send_message: SendMessage
    ask_knowledge_base: AskKnowledgeBase
    find_answer: FindAnswer
    follow_answer: FollowAnswer
    stop_answer: StopAnswer

    open_conversation: OpenConversation
    describe_conversation: DescribeConversation
    read_items: ReadItems
    add_items: AddItems
    remove_item: RemoveItem

    respond: Respond
    count_input: CountInput
    compact_response: CompactResponse
    find_response: FindResponse
    recall_response: RecallResponse
    cancel_response: CancelResponse
    delete_response: DeleteResponse
    forget_response: ForgetResponse

    create_knowledge_base: CreateKnowledgeBase
    list_knowledge_bases: ListKnowledgeBases
    delete_knowledge_base: DeleteKnowledgeBase
    upload_document: UploadDocument
    submit_document: SubmitDocument
    check_document: CheckDocument
    follow_document: FollowDocument
    cancel_document: CancelDocument
    describe_document: DescribeDocument
    list_documents: ListDocuments
    delete_document: DeleteDocument
    read_content: ReadContent
    read_chunks: ReadChunks
    read_original: ReadOriginal
    list_embedding_models: ListEmbeddingModels
    start_reindexing: StartReindexing
    check_reindexing: CheckReindexing
    cancel_reindexing: CancelReindexing
    roll_back_reindexing: RollBackReindexing
    retrieve: Retrieve

    upload_file: UploadFile
    list_files: ListFiles
    find_file: FindFile
    read_file: ReadFile
    delete_file: DeleteFile

    create_vector_store: CreateVectorStore
    update_vector_store: UpdateVectorStore
    list_vector_stores: ListVectorStores
    find_vector_store: FindVectorStore
    search_vector_store: SearchVectorStore
    attach_files: AttachFiles
    list_store_files: ListStoreFiles
    find_store_file: FindStoreFile
    describe_store_file: DescribeStoreFile
    detach_file: DetachFile
    read_store_file: ReadStoreFile
    find_file_batch: FindFileBatch
    cancel_file_batch: CancelFileBatch

    reindex: Reindex

    keep_house: KeepHouse
    watch_index: WatchIndex
    drain: Drain
    check_readiness: CheckReadiness
