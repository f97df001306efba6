"""Files by themselves: take them in, show them, let them go."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from llm_backend.application.clearing import clear_away
from llm_backend.application.job_runner import JobRunner
from llm_backend.application.originals import blob_of, file_in, opened, pieces
from llm_backend.application.ports.blobs import BlobKey, BlobNotFound, Blobs
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.file_views import FileViews
from llm_backend.application.ports.idempotency import AlreadyRecorded, IdempotencyKey
from llm_backend.application.ports.jobs import JobId, Jobs
from llm_backend.application.ports.passage_index import PassageIndex
from llm_backend.application.ports.unit_of_work import UnitOfWork, UnitOfWorkFactory
from llm_backend.application.standstill import Standstills
from llm_backend.application.uploads import call_off, measured
from llm_backend.domain.errors import DomainError, FileContentMissing, NotFound, StoredFileNotFound
from llm_backend.domain.files import Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileId, UserId
from llm_backend.domain.knowledge import Document, DocumentState, EmbeddingSpace, base_name


@dataclass(frozen=True, slots=True)
class UploadFile:
    """Keep a file. When this returns, it is stored for good."""

    transactions: UnitOfWorkFactory
    views: FileViews
    blobs: Blobs
    ids: IdSource
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        content: Path,
        name: str,
        purpose: Purpose,
        *,
        expires_after: timedelta | None = None,
        idempotency: IdempotencyKey | None = None,
    ) -> StoredFile:
        """The same key gives the same file. Raises `InvalidDocumentName`, `InvalidFileExpiry`, `IdempotencyMismatch`,
        `StoredFileNotFound` when the key's file has been deleted, `Unavailable` or `StorageFull`."""
        now = self.now()
        size, sha256 = await asyncio.to_thread(measured, content)
        file = StoredFile(
            id=FileId(self.ids.uuid()),
            owner=owner,
            name=base_name(name),
            purpose=purpose,
            size=size,
            sha256=sha256,
            created_at=now,
            expires_at=None if expires_after is None else now + expires_after,
        )
        if idempotency and (made := await self._made(owner, idempotency)):
            return made
        await self.blobs.put(blob_of(file.id), pieces(content))
        try:
            await self._add(file, idempotency)
        except AlreadyRecorded:
            return await self._faster(file, idempotency)
        return file

    async def _add(self, file: StoredFile, idempotency: IdempotencyKey | None) -> None:
        async with self.transactions() as work:
            await work.files.add(file)
            if idempotency:
                if await work.idempotency.outcome(file.owner, idempotency):
                    raise AlreadyRecorded
                await work.idempotency.record(file.owner, idempotency, file.id, at=file.created_at)
            await work.commit()

    async def _made(self, owner: UserId, idempotency: IdempotencyKey) -> StoredFile | None:
        async with self.transactions() as work:
            made = await work.idempotency.outcome(owner, idempotency)
        return await self.views.file(owner, FileId(made)) if made else None

    async def _faster(self, file: StoredFile, idempotency: IdempotencyKey | None) -> StoredFile:
        with suppress(DomainError):  # the sweeper comes across it
            await self.blobs.delete([blob_of(file.id)])
        made = await self._made(file.owner, idempotency) if idempotency else None
        if made is None:
            raise StoredFileNotFound
        return made


@dataclass(frozen=True, slots=True)
class ListFiles:
    """The user's files by the time they were made, documents that were uploaded into a knowledge base among them."""

    views: FileViews
    now: Clock

    async def __call__(
        self,
        owner: UserId,
        *,
        limit: int,
        purpose: Purpose | None = None,
        newest_first: bool = True,
        after: FileId | None = None,
    ) -> Sequence[StoredFile]:
        """At most `limit` of those that have not expired, behind `after`, which may have been deleted. Raises
        `CursorNotFound` when that never was."""
        return await self.views.files(
            owner, now=self.now(), limit=limit, purpose=purpose, newest_first=newest_first, after=after
        )


@dataclass(frozen=True, slots=True)
class FindFile:
    """One file."""

    views: FileViews
    now: Clock

    async def __call__(self, owner: UserId, file: FileId) -> StoredFile:
        """Raises `StoredFileNotFound`, also when it has expired."""
        found = await self.views.file(owner, file)
        if not found.is_live(self.now()):
            raise StoredFileNotFound
        return found


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file with its content, as it was uploaded."""

    find: FindFile
    blobs: Blobs

    async def __call__(self, owner: UserId, file: FileId) -> tuple[StoredFile, AsyncIterator[bytes]]:
        """Raises `StoredFileNotFound`, `FileContentMissing` or `Unavailable` before there is any content."""
        found = await self.find(owner, file)
        for key in (blob_of(found.id), BlobKey(found.id)):  # the latter of a document's own file
            with suppress(BlobNotFound):
                return found, await opened(self.blobs, key)
        raise FileContentMissing


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """Delete a file and every document that it has become: gone from lists and searches when this returns."""

    transactions: UnitOfWorkFactory
    blobs: Blobs
    index: PassageIndex
    jobs: Jobs
    runner: JobRunner

    async def __call__(self, owner: UserId, file: FileId) -> None:
        """Raises `StoredFileNotFound`."""
        async with self.transactions() as work:
            documents = await self._documents(work, owner, file)
            for document in documents:
                await work.documents.bury(owner, document.knowledge_base, document.id)
            spaces = await work.documents.spaces_of([document.id for document in documents])
            await work.commit()
        with suppress(DomainError):  # the sweeper comes across it
            await self.blobs.delete([blob_of(file)])
        await self._clear(documents, spaces)

    async def _documents(self, work: UnitOfWork, owner: UserId, file: FileId) -> Sequence[Document]:
        """What has to go with the file, which is removed if it is one by itself."""
        try:
            await work.files.hold(owner, file)
        except StoredFileNotFound:
            return [await _own_document(work, owner, file)]
        attached = await work.files.attached(owner, file)
        await work.files.remove(owner, file)
        return attached

    async def _clear(self, documents: Sequence[Document], spaces: Iterable[EmbeddingSpace]) -> None:
        """Those that are being read in are cleared up by their jobs."""
        for document in documents:
            if document.state is DocumentState.PENDING:
                await call_off(self.jobs, self.runner, JobId(document.id))
        settled = [document.id for document in documents if document.state is not DocumentState.PENDING]
        await clear_away(self.index, self.blobs, spaces, settled)


async def _own_document(work: UnitOfWork, owner: UserId, file: FileId) -> Document:
    """The document that was uploaded straight into a knowledge base. Raises `StoredFileNotFound`."""
    found = await work.documents.find(DocumentId(file))
    is_theirs = found is not None and found[0].owner == owner and found[0].state is not DocumentState.DELETED
    if found is None or not is_theirs or await work.files.attachment(DocumentId(file)):
        raise StoredFileNotFound
    return found[0]


@dataclass(frozen=True, slots=True)
class SweepFiles:
    """Delete files that have expired, and the content of those that were never stored or are gone.

    Does nothing twice; run it every few minutes, in as many processes as you like.
    """

    transactions: UnitOfWorkFactory
    blobs: Blobs
    delete: DeleteFile
    now: Clock
    orphaned_after: timedelta = timedelta(minutes=10)  # longer than from storing a file's content to storing its row
    unneeded: Standstills[BlobKey] = field(default_factory=Standstills)

    async def __call__(self) -> None:
        async with self.transactions() as work:
            expired = await work.files.expired(self.now())
        for owner, file in expired:
            with suppress(NotFound):  # somebody else was faster
                await self.delete(owner, file)
        await self._drop_orphans()

    async def _drop_orphans(self) -> None:
        """Content comes before its file, so what nobody needs is only given up when it stays so."""
        kept = {key: file for key in await self.blobs.keys() if (file := file_in(key)) is not None}
        async with self.transactions() as work:
            present = await work.files.present(set(kept.values()))
        lonely = self.unneeded.look({key: None for key, file in kept.items() if file not in present})
        await self.blobs.delete([key for key, duration in lonely.items() if duration >= self.orphaned_after])
