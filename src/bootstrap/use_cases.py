"""Adapters become use cases."""

from pathlib import Path

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.answering import (
    AskKnowledgeBase,
    CloseInterruptedAnswers,
    Drain,
    FindAnswer,
    FollowAnswer,
    SendMessage,
    StopAnswer,
)
from llm_backend.application.backend import Backend
from llm_backend.application.conversations import (
    CreateConversation,
    DeleteConversation,
    ListConversations,
    ReadHistory,
)
from llm_backend.application.grounding import GroundAnswer
from llm_backend.application.health import CheckReadiness
from llm_backend.application.housekeeping import KeepHouse
from llm_backend.application.indexing import OptimizeIndex, Reindex
from llm_backend.application.ingestion import IngestDocument
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.knowledge import (
    CreateKnowledgeBase,
    DeleteDocument,
    DeleteKnowledgeBase,
    ListDocuments,
    ListEmbeddingModels,
    ListKnowledgeBases,
)
from llm_backend.application.retrieval import CorpusSummaries, Retrieve
from llm_backend.application.sweeping import SweepDocuments
from llm_backend.application.uploads import (
    CancelDocument,
    CheckDocument,
    FollowDocument,
    SubmitDocument,
    UploadDocument,
)
from llm_backend.application.users import Authenticate, ChangePassword, LogIn, LogOut, RegisterUser
from llm_backend.bootstrap.adapters import Adapters
from llm_backend.config import Settings


def answer_runner(settings: Settings, ports: Adapters) -> AnswerRunner:
    return AnswerRunner(
        model=ports.chat_model,
        journal=ports.store.journal,
        log=ports.stream_log,
        now=ports.clock,
        checkpoint_every=settings.answers.checkpoint_interval,
        checkpoint_size=settings.answers.checkpoint_size,
        grace=settings.server.shutdown_grace,
    )


def job_runner(settings: Settings, ports: Adapters, scratch: Path) -> JobRunner:
    work = IngestDocument(
        ports.store.transactions,
        ports.blobs,
        ports.parser,
        ports.folding,
        ports.embedders,
        ports.passage_index,
        scratch,
    )
    return JobRunner(
        jobs=ports.jobs,
        work=work,
        concurrency=settings.jobs.concurrency,
        attempts=settings.jobs.attempts,
        first_pause=settings.jobs.first_pause,
        lease=settings.jobs.lease,
        grace=settings.server.shutdown_grace,
    )


def use_cases(settings: Settings, ports: Adapters, runner: AnswerRunner, jobs: JobRunner) -> Backend:
    """Everything the product can do, over these adapters."""
    limits, clock, ids, store = settings.limits, ports.clock, ports.ids, ports.store
    transactions, knowledge = store.transactions, store.knowledge_views
    summaries = CorpusSummaries(ports.cache)
    retrieve = Retrieve(knowledge, ports.embedders, ports.passage_index, ports.folding, summaries)
    send = SendMessage(
        conversations=store.conversation_views,
        journal=store.journal,
        runner=runner,
        model=ports.chat_model,
        secrets=ports.secret_box,
        ids=ids,
        now=clock,
        streams_per_user=limits.streams_per_user,
    )
    close_interrupted = CloseInterruptedAnswers(store.journal, runner, clock)
    submit = SubmitDocument(transactions, knowledge, ports.blobs, ports.jobs, jobs, ports.embedders, ids, clock)
    check = CheckDocument(knowledge, ports.jobs)
    follow = FollowDocument(check, jobs)
    return Backend(
        register_user=RegisterUser(
            transactions, ports.passwords, ports.rate_limiter, limits.registrations_per_address, ids, clock
        ),
        log_in=LogIn(transactions, ports.passwords, ports.tokens, ports.rate_limiter, limits.login_failures),
        log_out=LogOut(transactions),
        change_password=ChangePassword(transactions, ports.passwords, ports.rate_limiter, limits.login_failures),
        authenticate=Authenticate(ports.tokens, store.session_views),
        create_conversation=CreateConversation(transactions, ports.chat_model, ports.secret_box, ids, clock),
        list_conversations=ListConversations(store.conversation_views),
        read_history=ReadHistory(store.conversation_views),
        delete_conversation=DeleteConversation(transactions, runner),
        send_message=send,
        ask_knowledge_base=AskKnowledgeBase(
            conversations=store.conversation_views,
            knowledge=knowledge,
            retrieve=retrieve,
            journal=store.journal,
            send=send,
            ground=GroundAnswer(knowledge, ids),
            answer_without_passages=settings.rag.answer_without_passages,
        ),
        find_answer=FindAnswer(store.journal),
        follow_answer=FollowAnswer(store.journal, ports.stream_log, runner),
        stop_answer=StopAnswer(store.journal, runner, close_interrupted),
        create_knowledge_base=CreateKnowledgeBase(transactions, ports.embedders, ids, clock),
        list_knowledge_bases=ListKnowledgeBases(knowledge),
        delete_knowledge_base=DeleteKnowledgeBase(transactions, knowledge, ports.passage_index),
        upload_document=UploadDocument(submit, follow, knowledge),
        submit_document=submit,
        check_document=check,
        follow_document=follow,
        cancel_document=CancelDocument(transactions, ports.jobs, jobs, check),
        list_documents=ListDocuments(knowledge),
        delete_document=DeleteDocument(transactions, ports.passage_index, ports.jobs, jobs),
        list_embedding_models=ListEmbeddingModels(ports.embedders),
        retrieve=retrieve,
        reindex=Reindex(knowledge, ports.passage_index),
        keep_house=KeepHouse(
            transactions=transactions,
            journal=store.journal,
            close_interrupted=close_interrupted,
            sweep_documents=SweepDocuments(
                transactions, ports.passage_index, ports.blobs, ports.jobs, jobs, clock, settings.jobs.failures_kept_for
            ),
            optimize_index=OptimizeIndex(ports.passage_index),
            now=clock,
            events_kept_for=settings.answers.kept_for,
            idempotency_kept_for=limits.idempotency_kept_for,
        ),
        drain=Drain(runner, jobs),
        check_readiness=CheckReadiness(ports.parts),
    )
