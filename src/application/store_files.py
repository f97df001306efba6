"""The files of vector stores: attach, look at, describe, detach, one by one or in batches."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from llm_backend.application.ingestion import embedder_of
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.knowledge import DeleteDocument
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.embedder import Embedders
from llm_backend.application.ports.file_views import FileViews, Slice
from llm_backend.application.ports.idempotency import IdempotencyKey
from llm_backend.application.ports.jobs import JobId, Jobs
from llm_backend.application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.application.uploads import CancelDocument, DescribeDocument
from llm_backend.application.using_stores import UseVectorStore
from llm_backend.domain.errors import (
    DocumentNotFound,
    FileBelongsElsewhere,
    InvalidFileBatch,
    StorageFull,
    StoredFileNotFound,
    Unavailable,
)
from llm_backend.domain.files import Attachment, Chunking, StoredFile
from llm_backend.domain.filters import Attributes, checked_attributes
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Document, DocumentState
from llm_backend.domain.vector_stores import BatchProgress, FileBatch, FileCounts, FileStatus, StoreFile, VectorStore

MOST_FILES = 500  # in one batch
LONGEST_TEXT = 2**31 - 1  # characters: all of any document


@dataclass(frozen=True, slots=True, kw_only=True)
class ToAttach:
    """A file for a vector store, with what is known of it and how it is to be cut. Without `attributes`, one that is
    there already keeps its own."""

    file: FileId
    attributes: Attributes | None = None
    chunking: Chunking | None = None


@dataclass(frozen=True, slots=True)
class AttachFiles:
    """Make documents of files. When this returns, they will be read in, whatever happens.

    A file that is in the store already, and has not failed there, stays as it is, with the new attributes.
    """

    transactions: UnitOfWorkFactory
    views: FileViews
    use: UseVectorStore
    embedders: Embedders
    jobs: Jobs
    runner: JobRunner
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        wanted: ToAttach,
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> StoreFile:
        """Raises `KnowledgeBaseNotFound`, `VectorStoreExpired`, `StoredFileNotFound`, `FileBelongsElsewhere`,
        `InvalidAttributes`, `UnknownEmbeddingModel`, `EmbeddingFailed`, `IdempotencyMismatch`, `Unavailable` or
        `StorageFull`."""
        store = await self._opened(owner, knowledge_base)
        async with self.transactions() as work:
            if idempotency and await work.idempotency.outcome(owner, idempotency):
                return await self.views.store_file(owner, knowledge_base, wanted.file)
            document = await self._attach(work, store, wanted)
            if idempotency:
                await work.idempotency.record(owner, idempotency, document.id, at=self.now())
            await work.commit()
        await self._enqueue([document])
        return await self.views.store_file(owner, knowledge_base, wanted.file)

    async def batch(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        wanted: Sequence[ToAttach],
        *,
        idempotency: IdempotencyKey | None = None,
    ) -> FileBatchId:
        """All of them or none. The same key gives the same batch. Raises the same, `InvalidFileBatch` unless there are
        1 to 500 files, each once, and `IdempotencyMismatch`."""
        store = await self._opened(owner, knowledge_base)
        if not 1 <= len(wanted) <= MOST_FILES or len({one.file for one in wanted}) < len(wanted):
            raise InvalidFileBatch
        async with self.transactions() as work:
            if idempotency and (made := await work.idempotency.outcome(owner, idempotency)):
                return FileBatchId(made)
            ordered = sorted(wanted, key=lambda one: one.file)  # two batches of the same files must not wait in a ring
            documents = [await self._attach(work, store, one) for one in ordered]
            batch = await self._add_batch(work, store, documents, idempotency)
            await work.commit()
        await self._enqueue(documents)
        return batch

    async def check(self, owner: UserId, files: Sequence[FileId]) -> None:
        """Whether a store that is yet to be made can have them. Raises `StoredFileNotFound`, `FileBelongsElsewhere`."""
        async with self.transactions() as work:
            for file in files:
                await self._held(work, owner, None, file)

    async def _opened(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> VectorStore:
        self.runner.check_open()
        store = await self.use(owner, knowledge_base)
        embedder_of(self.embedders, store.base.space)
        return store

    async def _attach(self, work: UnitOfWork, store: VectorStore, wanted: ToAttach) -> Document:
        attributes, owner = _checked(wanted.attributes), store.base.owner
        file = await self._held(work, owner, store.base.id, wanted.file)
        if isinstance(file, Document):
            return await _described(work, file, attributes)
        for document in await work.files.attached(owner, file.id):
            if document.knowledge_base == store.base.id:
                if document.state is not DocumentState.FAILED:
                    return await _described(work, document, attributes)
                await work.documents.bury(owner, store.base.id, document.id)  # this is another try
        return await self._add(work, store, file, attributes or {}, wanted.chunking)

    async def _held(
        self, work: UnitOfWork, owner: UserId, knowledge_base: KnowledgeBaseId | None, file: FileId
    ) -> StoredFile | Document:
        """A document, where the file was uploaded straight into this very knowledge base."""
        try:
            held = await work.files.hold(owner, file)
        except StoredFileNotFound:
            return await _own_document(work, owner, knowledge_base, file)
        if not held.is_live(self.now()):
            raise StoredFileNotFound
        return held

    async def _add(
        self,
        work: UnitOfWork,
        store: VectorStore,
        file: StoredFile,
        attributes: Attributes,
        chunking: Chunking | None,
    ) -> Document:
        """The first document that a file becomes has its id, so that citations name the file that was uploaded."""
        is_first = await work.documents.find(DocumentId(file.id)) is None
        document = Document(
            id=DocumentId(file.id if is_first else self.ids.uuid()),
            knowledge_base=store.base.id,
            owner=file.owner,
            name=file.name,
            file_type="",  # its content will tell
            size=file.size,
            sha256=file.sha256,
            attempt=0,
            created_at=self.now(),
            attributes=attributes,
        )
        await work.documents.add(document)
        await work.files.attach(Attachment(document=document.id, file=file.id, chunking=chunking))
        return document

    async def _add_batch(
        self, work: UnitOfWork, store: VectorStore, documents: Sequence[Document], idempotency: IdempotencyKey | None
    ) -> FileBatchId:
        batch = FileBatch(
            id=FileBatchId(self.ids.uuid()),
            owner=store.base.owner,
            knowledge_base=store.base.id,
            created_at=self.now(),
        )
        await work.vector_stores.add_batch(batch, [document.id for document in documents])
        if idempotency:
            await work.idempotency.record(batch.owner, idempotency, batch.id, at=batch.created_at)
        return batch.id

    async def _enqueue(self, documents: Sequence[Document]) -> None:
        for document in documents:
            if document.state is not DocumentState.PENDING:
                continue
            try:
                await self.jobs.enqueue(JobId(document.id))
            except (Unavailable, StorageFull):
                self.runner.ask_later(JobId(document.id), urgent=False)  # and should we die, the sweeper will
        self.runner.nudge()


def _checked(attributes: Attributes | None) -> Attributes | None:
    return None if attributes is None else checked_attributes(attributes)


async def _described(work: UnitOfWork, document: Document, attributes: Attributes | None) -> Document:
    if attributes is not None and document.state is not DocumentState.FAILED:
        await work.documents.describe(document.owner, document.id, attributes)
    return document


async def _own_document(
    work: UnitOfWork, owner: UserId, knowledge_base: KnowledgeBaseId | None, file: FileId
) -> Document:
    """Raises `StoredFileNotFound`, `FileBelongsElsewhere`."""
    found = await work.documents.find(DocumentId(file))
    if found is None or found[0].owner != owner or found[0].state is DocumentState.DELETED:
        raise StoredFileNotFound
    if found[0].knowledge_base != knowledge_base:
        raise FileBelongsElsewhere
    return found[0]


@dataclass(frozen=True, slots=True)
class ListStoreFiles:
    """The files of a vector store, however far they have come, by the time they were attached."""

    views: FileViews

    async def __call__(
        self,
        owner: UserId,
        knowledge_base: KnowledgeBaseId,
        part: Slice[FileId],
        *,
        batch: FileBatchId | None = None,
        status: FileStatus | None = None,
    ) -> Sequence[StoreFile]:
        """With `batch`, those of that batch. Raises `KnowledgeBaseNotFound`, `FileBatchNotFound` or, if it is none of
        these, `CursorNotFound`."""
        if batch is not None:
            await self.views.batch(owner, knowledge_base, batch)
        return await self.views.store_files(owner, knowledge_base, part, batch=batch, status=status)


@dataclass(frozen=True, slots=True)
class FindStoreFile:
    """One file of a vector store."""

    views: FileViews

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId) -> StoreFile:
        """Raises `KnowledgeBaseNotFound`, `StoredFileNotFound`."""
        return await self.views.store_file(owner, knowledge_base, file)


@dataclass(frozen=True, slots=True)
class DescribeStoreFile:
    """Give a file of a vector store other attributes. Searches go by them from then on."""

    views: FileViews
    describe: DescribeDocument

    async def __call__(
        self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId, attributes: Attributes
    ) -> StoreFile:
        """In place of all that it had. Raises `KnowledgeBaseNotFound`, `StoredFileNotFound`, `InvalidAttributes`."""
        found = await self.views.store_file(owner, knowledge_base, file)
        try:
            await self.describe(owner, found.document.id, attributes)
        except DocumentNotFound as error:
            raise StoredFileNotFound from error
        return await self.views.store_file(owner, knowledge_base, file)


@dataclass(frozen=True, slots=True)
class DetachFile:
    """Take a file out of a vector store: gone from lists and searches when this returns. What was uploaded straight
    into the knowledge base is deleted by that; any other file stays."""

    views: FileViews
    delete: DeleteDocument

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId) -> None:
        """Raises `KnowledgeBaseNotFound`, `StoredFileNotFound`."""
        found = await self.views.store_file(owner, knowledge_base, file)
        try:
            await self.delete(owner, knowledge_base, found.document.id)
        except DocumentNotFound as error:
            raise StoredFileNotFound from error


@dataclass(frozen=True, slots=True)
class ReadStoreFile:
    """The text that was read from a file of a vector store."""

    views: FileViews
    knowledge: KnowledgeViews

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId, file: FileId) -> tuple[StoreFile, str]:
        """An empty text as long as it is not ready. Raises `KnowledgeBaseNotFound`, `StoredFileNotFound`."""
        found = await self.views.store_file(owner, knowledge_base, file)
        if found.status is not FileStatus.COMPLETED:
            return found, ""
        text = await self.knowledge.quotation(owner, found.document.id, 0, LONGEST_TEXT)
        return found, text or ""


@dataclass(frozen=True, slots=True)
class FindFileBatch:
    """A batch, and how far its files have come."""

    views: FileViews

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> BatchProgress:
        """Raises `KnowledgeBaseNotFound`, `FileBatchNotFound`."""
        files = await self.views.store_files(owner, knowledge_base, batch=batch)
        found = await self.views.batch(owner, knowledge_base, batch)
        return BatchProgress(batch=found, counts=FileCounts.of([file.status for file in files]))


@dataclass(frozen=True, slots=True)
class CancelFileBatch:
    """Give up those files of a batch that are not read in yet. The others stay."""

    transactions: UnitOfWorkFactory
    views: FileViews
    find: FindFileBatch
    cancel: CancelDocument

    async def __call__(self, owner: UserId, knowledge_base: KnowledgeBaseId, batch: FileBatchId) -> BatchProgress:
        """How it stands after that. Raises `KnowledgeBaseNotFound`, `FileBatchNotFound`."""
        progress = await self.find(owner, knowledge_base, batch)
        if not progress.counts.in_progress:
            return progress
        async with self.transactions() as work:
            await work.vector_stores.cancel_batch(owner, knowledge_base, batch)
            await work.commit()
        for file in await self.views.store_files(owner, knowledge_base, batch=batch):
            if file.status is FileStatus.IN_PROGRESS:
                with suppress(DocumentNotFound):
                    await self.cancel(owner, file.document.id)
        return await self.find(owner, knowledge_base, batch)
