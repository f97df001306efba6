"""Documents as their owners see them on the way in: hand in, watch, cancel."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from llm_backend.application.ingestion import embedder_of
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.originals import pieces
from llm_backend.application.ports.blobs import BlobKey, Blobs
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.embedder import Embedders
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.jobs import JobId, Jobs
from llm_backend.application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.waiting import set_within
from llm_backend.domain.errors import (
    ApiKeyRequired,
    BlobsUnavailable,
    DatabaseUnavailable,
    DocumentEmpty,
    DocumentEncrypted,
    DocumentNotFound,
    DocumentScanned,
    DocumentTooLarge,
    DocumentUnreadable,
    DomainError,
    EmbeddingFailed,
    EmbeddingKeyRejected,
    EmbeddingModelChanged,
    EmbeddingModelMissing,
    IndexUnavailable,
    IngestionCancelled,
    IngestionFailed,
    KnowledgeBaseNotFound,
    OriginalMissing,
    Overloaded,
    StorageFull,
    Unavailable,
    UnknownEmbeddingModel,
    UnsupportedDocument,
)
from llm_backend.domain.filters import Attributes, checked_attributes
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Document,
    DocumentState,
    DocumentStatus,
    IngestionStep,
    KnowledgeBase,
    base_name,
)

POLL = timedelta(seconds=1)  # for news of documents that are read in elsewhere

# What documents fail by, so that whoever waits gets the very error, wherever it came up.
FAILURES: dict[str, type[DomainError]] = {
    kind.code: kind
    for kind in (
        ApiKeyRequired,
        BlobsUnavailable,
        DatabaseUnavailable,
        DocumentEmpty,
        DocumentEncrypted,
        DocumentScanned,
        DocumentTooLarge,
        DocumentUnreadable,
        EmbeddingFailed,
        EmbeddingKeyRejected,
        EmbeddingModelChanged,
        EmbeddingModelMissing,
        IndexUnavailable,
        IngestionCancelled,
        IngestionFailed,
        OriginalMissing,
        Overloaded,
        StorageFull,
        Unavailable,
        UnknownEmbeddingModel,
        UnsupportedDocument,
    )
}


class Uploaded(NamedTuple):
    """A document that was read in, and the number of chunks it was cut into."""

    document: Document
    chunks: int


def failure_of(document: Document) -> DomainError:
    """What a failed document failed by."""
    return FAILURES.get(document.reason or "", IngestionFailed)()


@dataclass(frozen=True, slots=True)
class SubmitDocument:
    """Take a file for a knowledge base. When this returns, it is stored, and will be read in, whatever happens."""

    transactions: UnitOfWorkFactory
    views: KnowledgeViews
    blobs: Blobs
    jobs: Jobs
    runner: JobRunner
    embedders: Embedders
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        file: Path,
        name: str,
        *,
        idempotency: IdempotencyKey | None = None,
        attributes: Attributes | None = None,
        replace: bool = False,
        urgent: bool = False,
    ) -> DocumentId:
        """What is `urgent`, because somebody waits for it, goes before the rest. The same key gives the same document,
        unless that has failed: then this is another try. So do the same content and name in the same knowledge base;
        `attributes` are given to that document then.

        With `replace`, the older documents of that name give way to this one at the moment it is ready, unless the only
        one has this very content.

        Raises `KnowledgeBaseNotFound` before it looks at the file, `InvalidDocumentName`, `InvalidAttributes`,
        `IdempotencyMismatch`, `DocumentNotFound` when the key's document has been deleted, `UnknownEmbeddingModel`,
        `ApiKeyRequired`, `EmbeddingFailed`, `Unavailable` or `StorageFull`.
        """
        self.runner.check_open()
        shelf = await self.views.knowledge_base(owner, knowledge_base)
        if idempotency and (earlier := await self._earlier(owner, idempotency)):
            if earlier.state is DocumentState.PENDING:  # whoever stored it may not have come to ask for its job
                await self._enqueue(earlier, urgent=urgent)
            return earlier.id
        embedder_of(self.embedders, shelf.space)
        known = None if attributes is None else checked_attributes(attributes)
        document = await self._document(shelf, file, base_name(name), known or {}, replaces=replace)
        await self.blobs.put(BlobKey(document.id), pieces(file))
        try:
            kept = await self._add(document, idempotency, described=known is not None)
        except KnowledgeBaseNotFound:
            await self._drop(document)
            raise
        except AlreadyRecorded:
            await self._drop(document)
            return await self._faster(owner, idempotency)
        if kept.id != document.id:
            await self._drop(document)
        if kept.state is DocumentState.PENDING:
            await self._enqueue(kept, urgent=urgent)
        return kept.id

    async def check(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> None:
        """Whether there is anything to submit to. Raises `KnowledgeBaseNotFound`."""
        await self.views.knowledge_base(owner, knowledge_base)

    async def _document(
        self, shelf: KnowledgeBase, file: Path, name: str, attributes: Attributes, *, replaces: bool
    ) -> Document:
        size, sha256 = await asyncio.to_thread(measured, file)
        return Document(
            id=DocumentId(self.ids.uuid()),
            knowledge_base=shelf.id,
            owner=shelf.owner,
            name=name,
            file_type="",  # its content will tell
            size=size,
            sha256=sha256,
            attempt=0,
            created_at=self.now(),
            attributes=attributes,
            replaces=replaces,
        )

    async def _add(self, document: Document, idempotency: IdempotencyKey | None, *, described: bool) -> Document:
        """The document itself, or the one of its name with its content that is there already."""
        async with self.transactions() as work:
            same = await _same(work, document)
            if same is None:
                await work.documents.add(document)
            elif described:
                await work.documents.describe(document.owner, same.id, document.attributes)
            kept = same or document
            if idempotency:
                await _forget_failed(work, document.owner, idempotency)
                await work.idempotency.record(document.owner, idempotency, kept.id, at=document.created_at)
            await work.commit()
        return kept

    async def _enqueue(self, document: Document, *, urgent: bool) -> None:
        try:
            await self.jobs.enqueue(JobId(document.id), urgent=urgent)
        except (Unavailable, StorageFull):
            self.runner.ask_later(JobId(document.id), urgent=urgent)  # and should we die, the sweeper will
        self.runner.nudge()

    async def _drop(self, document: Document) -> None:
        """Only what is certainly not wanted: where but the word of a commit was lost, the file is needed."""
        with suppress(DomainError):
            await self.blobs.delete([BlobKey(document.id)])

    async def _earlier(self, owner: UserId, idempotency: IdempotencyKey) -> Document | None:
        async with self.transactions() as work:
            outcome = await work.idempotency.outcome(owner, idempotency)
        if outcome is None:
            return None
        document = (await self.views.document(owner, DocumentId(outcome))).document
        return None if document.state is DocumentState.FAILED else document

    async def _faster(self, owner: UserId, idempotency: IdempotencyKey | None) -> DocumentId:
        earlier = await self._earlier(owner, idempotency) if idempotency else None
        if earlier is None:
            raise Overloaded  # it has failed already: the same request again will be another try
        return earlier.id


async def _same(work: UnitOfWork, document: Document) -> Document | None:
    """What is there already with the same name and content; of a new version, if it is all that has its name."""
    named = await work.documents.alike(document.owner, document.knowledge_base, document.name)
    if document.replaces and len(named) > 1:
        return None
    return next((one for one in named if one.sha256 == document.sha256), None)


async def _has_failed(work: UnitOfWork, document: DocumentId) -> bool:
    found = await work.documents.find(document)
    return found is not None and found[0].state is DocumentState.FAILED


async def _forget_failed(work: UnitOfWork, owner: UserId, idempotency: IdempotencyKey) -> None:
    outcome = await work.idempotency.outcome(owner, idempotency)
    if outcome and await _has_failed(work, DocumentId(outcome)):
        await work.idempotency.forget(owner, idempotency)


@dataclass(frozen=True, slots=True)
class CheckDocument:
    """How far a document has come."""

    views: KnowledgeViews
    jobs: Jobs

    async def __call__(self, owner: UserId, document: DocumentId) -> DocumentStatus:
        """Raises `DocumentNotFound`."""
        status = await self.views.document(owner, document)
        if status.is_settled:
            return status
        progress = await self.jobs.progress(JobId(document))
        if progress is None or progress.step not in set(IngestionStep):
            return status
        return replace(status, step=IngestionStep(progress.step), percent=min(progress.percent, 99))


@dataclass(frozen=True, slots=True)
class FollowDocument:
    """The status of a document at once, and again whenever it has changed, until it is ready or has failed."""

    check: CheckDocument
    runner: JobRunner

    async def settled(self, owner: UserId, document: DocumentId) -> DocumentStatus:
        """The last status alone: nothing is asked of the database for the steps before. Raises the same."""
        with self.runner.watching(JobId(document), each_step=False) as over:
            while True:
                over.clear()
                status = await self.check.views.document(owner, document)
                if status.is_settled:
                    return status
                self.runner.check_running()
                await set_within(POLL, over)

    async def __call__(self, owner: UserId, document: DocumentId) -> AsyncIterator[DocumentStatus]:
        """Raises `DocumentNotFound`, also when it is deleted meanwhile, and `ShuttingDown`."""
        seen = None
        with self.runner.watching(JobId(document)) as news:
            while True:
                news.clear()
                status = await self.check(owner, document)
                if status != seen:
                    yield status
                if status.is_settled:
                    return
                seen = status
                self.runner.check_running()
                await set_within(POLL, news)


@dataclass(frozen=True, slots=True)
class UploadDocument:
    """Read a file into a knowledge base. When this returns, the document is stored, listed and searchable.

    When the caller goes away, it is read in all the same.
    """

    submit: SubmitDocument
    follow: FollowDocument
    views: KnowledgeViews

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        file: Path,
        name: str,
        *,
        idempotency: IdempotencyKey | None = None,
        attributes: Attributes | None = None,
        replace: bool = False,
    ) -> Uploaded:
        """Raises what `SubmitDocument` raises, what the document fails by, `IngestionCancelled`, `DocumentNotFound`
        when it is deleted meanwhile, or `ShuttingDown`."""
        document = await self.submit(
            owner,
            knowledge_base,
            file,
            name,
            idempotency=idempotency,
            attributes=attributes,
            replace=replace,
            urgent=True,
        )
        try:
            status = await self.follow.settled(owner, document)
        except DocumentNotFound:
            await self.views.knowledge_base(owner, knowledge_base)  # that was deleted, rather
            raise
        if status.document.state is DocumentState.FAILED:
            raise failure_of(status.document)
        return Uploaded(status.document, status.chunks)


@dataclass(frozen=True, slots=True)
class DescribeDocument:
    """Give a document other attributes. Searches go by them from then on."""

    transactions: UnitOfWorkFactory

    async def __call__(self, owner: UserId, document: DocumentId, attributes: Attributes) -> None:
        """In place of all that it had. Raises `InvalidAttributes` or `DocumentNotFound`."""
        async with self.transactions() as work:
            await work.documents.describe(owner, document, attributes)
            checked_attributes(attributes)
            await work.commit()


@dataclass(frozen=True, slots=True)
class CancelDocument:
    """Give up a document that is being read in; it has failed then. One that is ready or has failed stays as it is."""

    transactions: UnitOfWorkFactory
    jobs: Jobs
    runner: JobRunner
    check: CheckDocument

    async def __call__(self, owner: UserId, document: DocumentId) -> DocumentStatus:
        """Its status after that. Raises `DocumentNotFound`."""
        status = await self.check(owner, document)
        if status.is_settled:
            return status
        async with self.transactions() as work:
            await work.documents.cancel(owner, document, IngestionCancelled.code)
            await work.commit()
        await call_off(self.jobs, self.runner, JobId(document))
        return await self.check(owner, document)


async def call_off(jobs: Jobs, runner: JobRunner, job: JobId) -> None:
    """Spare whoever does it the rest of the work. Without a word, they would notice in the end."""
    with suppress(DomainError):
        await jobs.cancel(job)
    runner.look_again(job)


def measured(file: Path) -> tuple[int, str]:
    """Its size in bytes and its SHA-256."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return stream.tell(), digest.hexdigest()
