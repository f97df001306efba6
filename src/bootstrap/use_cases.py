"""Adapters become use cases."""

from collections.abc import Mapping
from pathlib import Path

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.answering import (
    AskKnowledgeBase,
    Drain,
    FindAnswer,
    FollowAnswer,
    SendMessage,
    StopAnswer,
)
from llm_backend.application.api_keys import Authorize, CreateApiKey, DeleteApiKey, KeyUses, ListApiKeys
from llm_backend.application.asking_apart import AskApart
from llm_backend.application.backend import Backend
from llm_backend.application.compacting import CompactResponse
from llm_backend.application.completions import CompleteChat, GroundRequest, StreamChat
from llm_backend.application.composing import ComposeRequest
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
from llm_backend.application.files import DeleteFile, FindFile, ListFiles, ReadFile, SweepFiles, UploadFile
from llm_backend.application.grounding import GroundAnswer, NoteFiles
from llm_backend.application.health import CheckReadiness, Part
from llm_backend.application.heartbeat import Heartbeat
from llm_backend.application.housekeeping import KeepHouse
from llm_backend.application.indexing import OptimizeIndex
from llm_backend.application.ingestion import IngestDocument
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.kinds_of_work import KindsOfWork
from llm_backend.application.knowledge import (
    CreateKnowledgeBase,
    DeleteDocument,
    DeleteKnowledgeBase,
    ListDocuments,
    ListEmbeddingModels,
    ListKnowledgeBases,
)
from llm_backend.application.mending import IndexState, MendIndex, Reindex, WatchIndex
from llm_backend.application.models import FindModel, ListModels
from llm_backend.application.places import Places
from llm_backend.application.recalling import RecallResponse
from llm_backend.application.reindexing import (
    PREFIX,
    CancelReindexing,
    CheckReindexing,
    MoveKnowledgeBase,
    ReindexKnowledgeBase,
    RollBackReindexing,
    StartReindexing,
    SweepReindexings,
)
from llm_backend.application.responses import (
    CancelResponse,
    CountInput,
    DeleteResponse,
    FindResponse,
    ForgetResponse,
    Respond,
    Shelf,
)
from llm_backend.application.retrieval import CorpusSummaries, Retrieve
from llm_backend.application.sourcing import FindSources
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
from llm_backend.application.sweeping import SweepDocuments
from llm_backend.application.taking_over import TakeOverAnswers
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
from llm_backend.application.using_stores import NoteUse, UseVectorStore
from llm_backend.application.vector_stores import (
    CreateVectorStore,
    FindVectorStore,
    ListVectorStores,
    SearchVectorStore,
    SweepVectorStores,
    UpdateVectorStore,
)
from llm_backend.bootstrap.adapters import Adapters
from llm_backend.bootstrap.asking import answering_model, rewriting
from llm_backend.bootstrap.responses import compose_response, prepare_response, read_input_files, stored_shelf
from llm_backend.config import Settings
from llm_backend.domain.usage import Price, PriceTable


def answer_runner(settings: Settings, adapters: Adapters, heartbeat: Heartbeat, record: RecordUsage) -> AnswerRunner:
    return AnswerRunner(
        model=adapters.chat_model,
        journal=adapters.store.journal,
        leases=adapters.store.leases,
        log=adapters.stream_log,
        now=adapters.clock,
        record=record,
        checkpoint_every=settings.answers.checkpoint_interval,
        checkpoint_size=settings.answers.checkpoint_size,
        grace=settings.server.shutdown_grace,
        hands_over=is_shared(settings),
        alive_at=lambda: heartbeat.alive_at,
    )


def is_shared(settings: Settings) -> bool:
    """Whether other processes may work on the same data at the same time."""
    return settings.database.url is not None


def take_over_answers(
    settings: Settings, adapters: Adapters, runner: AnswerRunner, heartbeat: Heartbeat, record: RecordUsage
) -> TakeOverAnswers:
    return TakeOverAnswers(
        journal=adapters.store.journal,
        leases=adapters.store.leases,
        log=adapters.stream_log,
        runner=runner,
        heartbeat=heartbeat,
        conversations=adapters.store.conversation_views,
        compose=ComposeRequest(adapters.chat_model, adapters.secret_box),
        compose_response=compose_response(adapters),
        now=adapters.clock,
        record=record,
        finishing=is_shared(settings),
    )


def job_runner(settings: Settings, adapters: Adapters, scratch: Path) -> JobRunner:
    ingest = IngestDocument(
        adapters.store.transactions,
        adapters.blobs,
        adapters.parser,
        adapters.folding,
        adapters.embedders,
        adapters.passage_index,
        scratch,
    )
    reindex = ReindexKnowledgeBase(
        adapters.store.transactions,
        adapters.store.knowledge_views,
        adapters.embedders,
        adapters.passage_index,
        adapters.clock,
        settings.rag.old_vectors_kept_for,
    )
    return JobRunner(
        jobs=adapters.jobs,
        work=KindsOfWork({PREFIX: reindex}, others=ingest),
        concurrency=settings.jobs.concurrency,
        attempts=settings.jobs.attempts,
        first_pause=settings.jobs.first_pause,
        lease=settings.jobs.lease,
        grace=settings.server.shutdown_grace,
    )


def use_cases(
    settings: Settings,
    adapters: Adapters,
    runner: AnswerRunner,
    jobs: JobRunner,
    key_uses: KeyUses,
    record: RecordUsage,
    in_passing: Shelf,
    scratch: Path,
) -> Backend:
    """Everything the product can do, over these adapters."""
    limits, clock, ids, store = settings.limits, adapters.clock, adapters.ids, adapters.store
    transactions, knowledge = store.transactions, store.knowledge_views
    summaries = CorpusSummaries(adapters.cache)
    state = IndexState()
    mend = MendIndex(knowledge, adapters.passage_index, state)
    files = store.file_views
    use = UseVectorStore(transactions, files, clock)
    retrieve = Retrieve(
        views=knowledge,
        embedders=adapters.embedders,
        index=adapters.passage_index,
        folding=adapters.folding,
        summaries=summaries,
        state=state,
        note_use=NoteUse(use),
        threshold=settings.rag.threshold,
        reranker=adapters.reranker,
    )
    compose = ComposeRequest(adapters.chat_model, adapters.secret_box)
    send = SendMessage(
        conversations=store.conversation_views,
        journal=store.journal,
        runner=runner,
        compose=compose,
        ids=ids,
        now=clock,
        streams_per_user=limits.streams_per_user,
    )
    submit = SubmitDocument(
        transactions, knowledge, adapters.blobs, adapters.jobs, jobs, adapters.embedders, ids, clock
    )
    check = CheckDocument(knowledge, adapters.jobs)
    follow = FollowDocument(check, jobs)
    move = MoveKnowledgeBase(transactions, adapters.embedders, adapters.jobs, jobs, ids, clock)
    check_reindexing = CheckReindexing(knowledge)
    vectors_kept_for = settings.rag.old_vectors_kept_for
    authenticate = Authenticate(adapters.tokens, store.session_views)
    ground = GroundAnswer(knowledge, ids, settings.rag.context_tokens)
    ask_apart = AskApart(model=adapters.chat_model, record=record)
    find = FindSources(knowledge, retrieve, adapters.folding, rewriting(settings, compose, ask_apart))
    ground_request = GroundRequest(
        knowledge=knowledge,
        find=find,
        ground=ground,
        models=adapters.chat_model,
        model=answering_model(settings),
        now=clock,
        answer_without_passages=settings.rag.answer_without_passages,
    )
    cancel = CancelDocument(transactions, adapters.jobs, jobs, check)
    describe = DescribeDocument(transactions)
    delete_document = DeleteDocument(transactions, adapters.passage_index, adapters.blobs, adapters.jobs, jobs)
    delete_knowledge_base = DeleteKnowledgeBase(transactions, knowledge, adapters.passage_index)
    find_file = FindFile(files, clock)
    delete_file = DeleteFile(transactions, adapters.blobs, adapters.passage_index, adapters.jobs, jobs)
    find_batch = FindFileBatch(files)
    follow_answer = FollowAnswer(store.journal, adapters.stream_log, runner)
    stop_answer = StopAnswer(store.journal, store.leases, runner, adapters.stop_signals)
    read_files = read_input_files(adapters, find_file, scratch)
    prepare = prepare_response(adapters, read_files, find, ground, answering_model(settings))
    shelf = stored_shelf(adapters, runner, follow_answer)
    read_items = ReadItems(store.conversation_views)
    places = Places(limits.completions_per_user)
    list_models = ListModels(adapters.catalogue, adapters.embedders, knowledge)
    return Backend(
        register_user=RegisterUser(
            transactions, adapters.passwords, adapters.rate_limiter, limits.registrations_per_address, ids, clock
        ),
        log_in=LogIn(transactions, adapters.passwords, adapters.tokens, adapters.rate_limiter, limits.login_failures),
        log_out=LogOut(transactions),
        change_password=ChangePassword(transactions, adapters.passwords, adapters.rate_limiter, limits.login_failures),
        authenticate=authenticate,
        create_api_key=CreateApiKey(transactions, ids, clock),
        list_api_keys=ListApiKeys(store.api_key_views),
        delete_api_key=DeleteApiKey(transactions),
        authorize=Authorize(authenticate, store.api_key_views, key_uses, clock),
        list_models=list_models,
        find_model=FindModel(list_models, adapters.completions),
        complete_chat=CompleteChat(
            completions=adapters.completions, ground=ground_request, record=record, places=places
        ),
        stream_chat=StreamChat(completions=adapters.completions, ground=ground_request, record=record, places=places),
        embed_texts=EmbedTexts(embedders=adapters.embedders, record=record),
        embed_verbatim=EmbedVerbatim(completions=adapters.completions, record=record),
        record_usage=record,
        report_usage=ReportUsage(store.usage, record),
        create_conversation=CreateConversation(transactions, adapters.chat_model, adapters.secret_box, ids, clock),
        list_conversations=ListConversations(store.conversation_views),
        read_history=ReadHistory(store.conversation_views),
        delete_conversation=DeleteConversation(transactions, runner),
        send_message=send,
        ask_knowledge_base=AskKnowledgeBase(
            conversations=store.conversation_views,
            knowledge=knowledge,
            find=find,
            journal=store.journal,
            send=send,
            ground=ground,
            note_files=NoteFiles(store.file_views),
            answer_without_passages=settings.rag.answer_without_passages,
        ),
        find_answer=FindAnswer(store.journal),
        follow_answer=follow_answer,
        stop_answer=stop_answer,
        open_conversation=OpenConversation(transactions, adapters.catalogue, read_files, ids, clock),
        describe_conversation=DescribeConversation(transactions, read_items),
        read_items=read_items,
        add_items=AddItems(transactions, read_items, read_files, clock),
        remove_item=RemoveItem(transactions, read_items),
        respond=Respond(stored=shelf, in_passing=in_passing, prepare=prepare, streams_per_user=limits.streams_per_user),
        count_input=CountInput(prepare, adapters.catalogue),
        compact_response=CompactResponse(prepare, ask_apart, transactions),
        find_response=FindResponse(store.response_views),
        recall_response=RecallResponse(store.journal),
        cancel_response=CancelResponse(store.response_views, stop_answer),
        delete_response=DeleteResponse(shelf, stop_answer),
        forget_response=ForgetResponse(in_passing),
        create_knowledge_base=CreateKnowledgeBase(transactions, adapters.embedders, ids, clock),
        list_knowledge_bases=ListKnowledgeBases(knowledge),
        delete_knowledge_base=delete_knowledge_base,
        upload_document=UploadDocument(submit, follow, knowledge),
        submit_document=submit,
        check_document=check,
        follow_document=follow,
        cancel_document=cancel,
        describe_document=describe,
        list_documents=ListDocuments(knowledge),
        delete_document=delete_document,
        read_content=ReadContent(knowledge),
        read_chunks=ReadChunks(knowledge),
        read_original=ReadOriginal(knowledge, transactions, adapters.blobs),
        list_embedding_models=ListEmbeddingModels(adapters.embedders),
        start_reindexing=StartReindexing(move),
        check_reindexing=check_reindexing,
        cancel_reindexing=CancelReindexing(transactions, adapters.jobs, jobs, check_reindexing, clock),
        roll_back_reindexing=RollBackReindexing(move, vectors_kept_for),
        retrieve=retrieve,
        reindex=Reindex(mend),
        upload_file=UploadFile(transactions, files, adapters.blobs, ids, clock),
        list_files=ListFiles(files, clock),
        find_file=find_file,
        read_file=ReadFile(find_file, adapters.blobs),
        delete_file=delete_file,
        create_vector_store=CreateVectorStore(transactions, adapters.embedders, ids, clock),
        update_vector_store=UpdateVectorStore(transactions, files, clock),
        list_vector_stores=ListVectorStores(files, clock),
        find_vector_store=FindVectorStore(files, clock),
        search_vector_store=SearchVectorStore(use, files, retrieve),
        attach_files=AttachFiles(transactions, files, use, adapters.embedders, adapters.jobs, jobs, ids, clock),
        list_store_files=ListStoreFiles(files),
        find_store_file=FindStoreFile(files),
        describe_store_file=DescribeStoreFile(files, describe),
        detach_file=DetachFile(files, delete_document),
        read_store_file=ReadStoreFile(files, knowledge),
        find_file_batch=find_batch,
        cancel_file_batch=CancelFileBatch(transactions, files, find_batch, cancel),
        keep_house=KeepHouse(
            transactions=transactions,
            journal=store.journal,
            sweep_documents=SweepDocuments(
                transactions,
                adapters.passage_index,
                adapters.blobs,
                adapters.jobs,
                jobs,
                clock,
                settings.jobs.failures_kept_for,
            ),
            sweep_reindexings=SweepReindexings(transactions, adapters.jobs, jobs, clock, vectors_kept_for),
            sweep_files=SweepFiles(transactions, adapters.blobs, delete_file, clock),
            sweep_vector_stores=SweepVectorStores(transactions, delete_knowledge_base, clock),
            optimize_index=OptimizeIndex(adapters.passage_index),
            now=clock,
            events_kept_for=settings.answers.kept_for,
            idempotency_kept_for=limits.idempotency_kept_for,
        ),
        watch_index=WatchIndex(mend),
        drain=Drain(runner, in_passing.runner, jobs),
        check_readiness=CheckReadiness(_parts(adapters, state)),
    )


def record_usage(settings: Settings, adapters: Adapters) -> RecordUsage:
    prices = [
        Price(pattern=pattern, prompt=price.prompt, completion=price.completion, cached=price.cached)
        for price in settings.llm.prices
        for pattern in price.models
    ]
    return RecordUsage(log=adapters.store.usage, prices=PriceTable(prices), now=adapters.clock, ids=adapters.ids)


def _parts(adapters: Adapters, state: IndexState) -> Mapping[str, Part]:
    """An index that lacks something is there, and still not well."""
    name = "passage_index"
    if name not in adapters.parts:
        return adapters.parts
    index = adapters.parts[name]

    async def check() -> None:
        await state.check()
        await index.check()

    return {**adapters.parts, name: Part(check=check, essential=index.essential)}
