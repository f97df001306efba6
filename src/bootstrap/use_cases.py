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


def answer_runner(settings: Settings, ports: Adapters, heartbeat: Heartbeat, record: RecordUsage) -> AnswerRunner:
    return AnswerRunner(
        model=ports.chat_model,
        journal=ports.store.journal,
        leases=ports.store.leases,
        log=ports.stream_log,
        now=ports.clock,
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
    settings: Settings, ports: Adapters, runner: AnswerRunner, heartbeat: Heartbeat, record: RecordUsage
) -> TakeOverAnswers:
    return TakeOverAnswers(
        journal=ports.store.journal,
        leases=ports.store.leases,
        log=ports.stream_log,
        runner=runner,
        heartbeat=heartbeat,
        conversations=ports.store.conversation_views,
        compose=ComposeRequest(ports.chat_model, ports.secret_box),
        compose_response=compose_response(ports),
        now=ports.clock,
        record=record,
        finishing=is_shared(settings),
    )


def job_runner(settings: Settings, ports: Adapters, scratch: Path) -> JobRunner:
    ingest = IngestDocument(
        ports.store.transactions,
        ports.blobs,
        ports.parser,
        ports.folding,
        ports.embedders,
        ports.passage_index,
        scratch,
    )
    reindex = ReindexKnowledgeBase(
        ports.store.transactions,
        ports.store.knowledge_views,
        ports.embedders,
        ports.passage_index,
        ports.clock,
        settings.rag.old_vectors_kept_for,
    )
    return JobRunner(
        jobs=ports.jobs,
        work=KindsOfWork({PREFIX: reindex}, others=ingest),
        concurrency=settings.jobs.concurrency,
        attempts=settings.jobs.attempts,
        first_pause=settings.jobs.first_pause,
        lease=settings.jobs.lease,
        grace=settings.server.shutdown_grace,
    )


def use_cases(
    settings: Settings,
    ports: Adapters,
    runner: AnswerRunner,
    jobs: JobRunner,
    key_uses: KeyUses,
    record: RecordUsage,
    in_passing: Shelf,
    scratch: Path,
) -> Backend:
    """Everything the product can do, over these adapters."""
    limits, clock, ids, store = settings.limits, ports.clock, ports.ids, ports.store
    transactions, knowledge = store.transactions, store.knowledge_views
    summaries = CorpusSummaries(ports.cache)
    state = IndexState()
    mend = MendIndex(knowledge, ports.passage_index, state)
    files = store.file_views
    use = UseVectorStore(transactions, files, clock)
    retrieve = Retrieve(
        views=knowledge,
        embedders=ports.embedders,
        index=ports.passage_index,
        folding=ports.folding,
        summaries=summaries,
        state=state,
        note_use=NoteUse(use),
        threshold=settings.rag.threshold,
        reranker=ports.reranker,
    )
    compose = ComposeRequest(ports.chat_model, ports.secret_box)
    send = SendMessage(
        conversations=store.conversation_views,
        journal=store.journal,
        runner=runner,
        compose=compose,
        ids=ids,
        now=clock,
        streams_per_user=limits.streams_per_user,
    )
    submit = SubmitDocument(transactions, knowledge, ports.blobs, ports.jobs, jobs, ports.embedders, ids, clock)
    check = CheckDocument(knowledge, ports.jobs)
    follow = FollowDocument(check, jobs)
    move = MoveKnowledgeBase(transactions, ports.embedders, ports.jobs, jobs, ids, clock)
    check_reindexing = CheckReindexing(knowledge)
    vectors_kept_for = settings.rag.old_vectors_kept_for
    authenticate = Authenticate(ports.tokens, store.session_views)
    ground = GroundAnswer(knowledge, ids, settings.rag.context_tokens)
    ask_apart = AskApart(model=ports.chat_model, record=record)
    find = FindSources(knowledge, retrieve, ports.folding, rewriting(settings, compose, ask_apart))
    ground_request = GroundRequest(
        knowledge=knowledge,
        find=find,
        ground=ground,
        models=ports.chat_model,
        model=answering_model(settings),
        now=clock,
        answer_without_passages=settings.rag.answer_without_passages,
    )
    cancel = CancelDocument(transactions, ports.jobs, jobs, check)
    describe = DescribeDocument(transactions)
    delete_document = DeleteDocument(transactions, ports.passage_index, ports.blobs, ports.jobs, jobs)
    delete_knowledge_base = DeleteKnowledgeBase(transactions, knowledge, ports.passage_index)
    find_file = FindFile(files, clock)
    delete_file = DeleteFile(transactions, ports.blobs, ports.passage_index, ports.jobs, jobs)
    find_batch = FindFileBatch(files)
    follow_answer = FollowAnswer(store.journal, ports.stream_log, runner)
    stop_answer = StopAnswer(store.journal, store.leases, runner, ports.stop_signals)
    read_files = read_input_files(ports, find_file, scratch)
    prepare = prepare_response(ports, read_files, find, ground, answering_model(settings))
    shelf = stored_shelf(ports, runner, follow_answer)
    read_items = ReadItems(store.conversation_views)
    places = Places(limits.completions_per_user)
    list_models = ListModels(ports.catalogue, ports.embedders, knowledge)
    return Backend(
        register_user=RegisterUser(
            transactions, ports.passwords, ports.rate_limiter, limits.registrations_per_address, ids, clock
        ),
        log_in=LogIn(transactions, ports.passwords, ports.tokens, ports.rate_limiter, limits.login_failures),
        log_out=LogOut(transactions),
        change_password=ChangePassword(transactions, ports.passwords, ports.rate_limiter, limits.login_failures),
        authenticate=authenticate,
        create_api_key=CreateApiKey(transactions, ids, clock),
        list_api_keys=ListApiKeys(store.api_key_views),
        delete_api_key=DeleteApiKey(transactions),
        authorize=Authorize(authenticate, store.api_key_views, key_uses, clock),
        list_models=list_models,
        find_model=FindModel(list_models, ports.completions),
        complete_chat=CompleteChat(completions=ports.completions, ground=ground_request, record=record, places=places),
        stream_chat=StreamChat(completions=ports.completions, ground=ground_request, record=record, places=places),
        embed_texts=EmbedTexts(embedders=ports.embedders, record=record),
        embed_verbatim=EmbedVerbatim(completions=ports.completions, record=record),
        record_usage=record,
        report_usage=ReportUsage(store.usage, record),
        create_conversation=CreateConversation(transactions, ports.chat_model, ports.secret_box, ids, clock),
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
        open_conversation=OpenConversation(transactions, ports.catalogue, read_files, ids, clock),
        describe_conversation=DescribeConversation(transactions, read_items),
        read_items=read_items,
        add_items=AddItems(transactions, read_items, read_files, clock),
        remove_item=RemoveItem(transactions, read_items),
        respond=Respond(stored=shelf, in_passing=in_passing, prepare=prepare, streams_per_user=limits.streams_per_user),
        count_input=CountInput(prepare, ports.catalogue),
        compact_response=CompactResponse(prepare, ask_apart, transactions),
        find_response=FindResponse(store.response_views),
        recall_response=RecallResponse(store.journal),
        cancel_response=CancelResponse(store.response_views, stop_answer),
        delete_response=DeleteResponse(shelf, stop_answer),
        forget_response=ForgetResponse(in_passing),
        create_knowledge_base=CreateKnowledgeBase(transactions, ports.embedders, ids, clock),
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
        read_original=ReadOriginal(knowledge, transactions, ports.blobs),
        list_embedding_models=ListEmbeddingModels(ports.embedders),
        start_reindexing=StartReindexing(move),
        check_reindexing=check_reindexing,
        cancel_reindexing=CancelReindexing(transactions, ports.jobs, jobs, check_reindexing, clock),
        roll_back_reindexing=RollBackReindexing(move, vectors_kept_for),
        retrieve=retrieve,
        reindex=Reindex(mend),
        upload_file=UploadFile(transactions, files, ports.blobs, ids, clock),
        list_files=ListFiles(files, clock),
        find_file=find_file,
        read_file=ReadFile(find_file, ports.blobs),
        delete_file=delete_file,
        create_vector_store=CreateVectorStore(transactions, ports.embedders, ids, clock),
        update_vector_store=UpdateVectorStore(transactions, files, clock),
        list_vector_stores=ListVectorStores(files, clock),
        find_vector_store=FindVectorStore(files, clock),
        search_vector_store=SearchVectorStore(use, files, retrieve),
        attach_files=AttachFiles(transactions, files, use, ports.embedders, ports.jobs, jobs, ids, clock),
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
                transactions, ports.passage_index, ports.blobs, ports.jobs, jobs, clock, settings.jobs.failures_kept_for
            ),
            sweep_reindexings=SweepReindexings(transactions, ports.jobs, jobs, clock, vectors_kept_for),
            sweep_files=SweepFiles(transactions, ports.blobs, delete_file, clock),
            sweep_vector_stores=SweepVectorStores(transactions, delete_knowledge_base, clock),
            optimize_index=OptimizeIndex(ports.passage_index),
            now=clock,
            events_kept_for=settings.answers.kept_for,
            idempotency_kept_for=limits.idempotency_kept_for,
        ),
        watch_index=WatchIndex(mend),
        drain=Drain(runner, in_passing.runner, jobs),
        check_readiness=CheckReadiness(_parts(ports, state)),
    )


def record_usage(settings: Settings, ports: Adapters) -> RecordUsage:
    prices = [
        Price(pattern=pattern, prompt=price.prompt, completion=price.completion, cached=price.cached)
        for price in settings.llm.prices
        for pattern in price.models
    ]
    return RecordUsage(log=ports.store.usage, prices=PriceTable(prices), now=ports.clock, ids=ports.ids)


def _parts(ports: Adapters, state: IndexState) -> Mapping[str, Part]:
    """An index that lacks something is there, and still not well."""
    name = "passage_index"
    if name not in ports.parts:
        return ports.parts
    index = ports.parts[name]

    async def check() -> None:
        await state.check()
        await index.check()

    return {**ports.parts, name: Part(check=check, essential=index.essential)}
