"""Files and vector stores, cut off anywhere: what was acknowledged is there, and nothing stays behind."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from llm_backend.application.files import DeleteFile, FindFile, ReadFile, SweepFiles, UploadFile
from llm_backend.application.ports.blobs import BlobKey
from llm_backend.application.sourcing import DocumentSearch, FindSources
from llm_backend.application.standstill import Standstills
from llm_backend.application.store_files import AttachFiles, DetachFile, FindStoreFile, ToAttach
from llm_backend.application.using_stores import UseVectorStore
from llm_backend.application.vector_stores import (
    CreateVectorStore,
    FindVectorStore,
    SearchVectorStore,
    StoreChanges,
    SweepVectorStores,
)
from llm_backend.domain.conversations import Thread
from llm_backend.domain.errors import (
    BlobsUnavailable,
    DatabaseUnavailable,
    DomainError,
    InvalidChunking,
    KnowledgeBaseNotFound,
    StorageFull,
    StoredFileNotFound,
    VectorStoreExpired,
)
from llm_backend.domain.files import USUAL_CHUNKING, Chunking, Purpose, StoredFile
from llm_backend.domain.ids import FileId, KnowledgeBaseId
from llm_backend.domain.vector_stores import FileStatus, StoreStatus
from llm_backend.infrastructure.text.folding import OpenCcFolding
from llm_backend.testing.builders import a_conversation
from llm_backend.testing.faults import faults_at_every_call
from tests.unit.shelves import ALICE, Shelf

TEXT = "The quick brown fox jumps over the lazy dog."
DAY = timedelta(days=1)
ERRORS: list[Callable[[], DomainError]] = [DatabaseUnavailable, BlobsUnavailable, StorageFull]

P = TypeVar("P")


@dataclass(slots=True)
class Cabinet:
    """The use cases of files over a shelf, whose faults are theirs as well."""

    shelf: Shelf
    unneeded: Standstills[BlobKey]
    numbers: "count[int]"

    async def upload(self, text: str = TEXT, *, expires_after: timedelta | None = None) -> StoredFile:
        file = self.shelf.folder / f"file-{next(self.numbers)}"
        file.write_text(text)
        shelf = self.shelf
        use = UploadFile(
            self.port(shelf.store.transactions), shelf.store.file_views, self.port(shelf.blobs), shelf.ids, shelf.clock
        )
        return await use(ALICE, file, "fox.txt", Purpose.ASSISTANTS, expires_after=expires_after)

    @property
    def attach(self) -> AttachFiles:
        shelf = self.shelf
        return AttachFiles(
            self.port(shelf.store.transactions),
            shelf.store.file_views,
            self.use,
            shelf.handing_in.embedders,
            self.port(shelf.jobs),
            shelf.runner,
            shelf.ids,
            shelf.clock,
        )

    @property
    def use(self) -> UseVectorStore:
        return UseVectorStore(self.shelf.store.transactions, self.shelf.store.file_views, self.shelf.clock)

    @property
    def delete(self) -> DeleteFile:
        shelf = self.shelf
        return DeleteFile(
            self.port(shelf.store.transactions),
            self.port(shelf.blobs),
            self.port(shelf.index),
            self.port(shelf.jobs),
            shelf.runner,
        )

    @property
    def detach(self) -> DetachFile:
        return DetachFile(self.shelf.store.file_views, self.shelf.delete_document)

    @property
    def find(self) -> FindStoreFile:
        return FindStoreFile(self.shelf.store.file_views)

    @property
    def sweep(self) -> SweepFiles:
        shelf = self.shelf
        return SweepFiles(shelf.store.transactions, shelf.blobs, self.delete, shelf.clock, unneeded=self.unneeded)

    async def new_store(self, *, expires_after: timedelta | None = None) -> KnowledgeBaseId:
        shelf = self.shelf
        make = CreateVectorStore(shelf.store.transactions, shelf.handing_in.embedders, shelf.ids, shelf.clock)
        return await make(ALICE, StoreChanges(expires_after=expires_after))

    async def search(self, store: KnowledgeBaseId, query: str = "fox") -> list[FileId]:
        search = SearchVectorStore(self.use, self.shelf.store.file_views, self.shelf.retrieve())
        return [hit.file.file for hit in await search(ALICE, store, [query])]

    async def recover(self) -> None:
        """What a new process does with what a dead one left."""
        self.shelf.faults = None
        for _ in range(3):
            await self.sweep()
            await self.shelf.recover()

    async def listed(self) -> list[FileId]:
        files = await self.shelf.store.file_views.files(ALICE, now=self.shelf.clock(), limit=100)
        return [file.id for file in files]

    def port(self, port: P) -> P:
        return self.shelf.faults.wrap(port) if self.shelf.faults else port


async def open_cabinet(folder: Path) -> Cabinet:
    shelf = await Shelf(folder).open()
    return Cabinet(shelf, Standstills[BlobKey](shelf.clock.monotonic), count())


@pytest.fixture
async def cabinet(tmp_path: Path) -> Cabinet:
    return await open_cabinet(tmp_path)


async def test_an_attached_file_is_found_under_its_own_id_in_every_store(cabinet: Cabinet) -> None:
    file, stores = await cabinet.upload(), [cabinet.shelf.id, await cabinet.new_store()]

    for store in stores:
        await cabinet.attach(ALICE, store, ToAttach(file=file.id))
    await cabinet.shelf.work()

    assert [await cabinet.search(store) for store in stores] == [[file.id], [file.id]]
    statuses = [(await cabinet.find(ALICE, store, file.id)).status for store in stores]
    assert statuses == [FileStatus.COMPLETED] * 2


async def test_the_content_of_a_file_outlives_its_documents(cabinet: Cabinet) -> None:
    file = await cabinet.upload()
    await cabinet.attach(ALICE, cabinet.shelf.id, ToAttach(file=file.id))
    await cabinet.shelf.work()

    await cabinet.detach(ALICE, cabinet.shelf.id, file.id)
    await cabinet.recover()

    read = ReadFile(FindFile(cabinet.shelf.store.file_views, cabinet.shelf.clock), cabinet.shelf.blobs)
    _, content = await read(ALICE, file.id)
    assert b"".join([piece async for piece in content]) == TEXT.encode()
    assert await cabinet.shelf.tombstones() == 0


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("afterwards", [False, True])
async def test_an_upload_cut_off_anywhere_leaves_a_file_or_nothing(
    tmp_path: Path, error: Callable[[], DomainError], afterwards: bool
) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        cabinet = await open_cabinet(tmp_path)
        cabinet.shelf.faults = faults
        acknowledged = None
        with suppress(DomainError):
            acknowledged = (await cabinet.upload()).id

        await cabinet.recover()

        listed = await cabinet.listed()
        assert acknowledged is None or listed == [acknowledged]
        assert [key.removeprefix("file-") for key in await cabinet.shelf.blobs.keys()] == listed


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("afterwards", [False, True])
async def test_an_attachment_cut_off_anywhere_is_read_in_or_was_never_there(
    tmp_path: Path, error: Callable[[], DomainError], afterwards: bool
) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        cabinet = await open_cabinet(tmp_path)
        file = await cabinet.upload()
        cabinet.shelf.faults = faults
        acknowledged = False
        with suppress(DomainError):
            await cabinet.attach(ALICE, cabinet.shelf.id, ToAttach(file=file.id))
            acknowledged = True

        await cabinet.recover()

        found = await cabinet.search(cabinet.shelf.id)
        assert found == [file.id] if acknowledged else found in ([], [file.id])


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("afterwards", [False, True])
async def test_a_deletion_cut_off_anywhere_is_done_or_not(
    tmp_path: Path, error: Callable[[], DomainError], afterwards: bool
) -> None:
    for faults in faults_at_every_call(error, afterwards=afterwards):
        cabinet = await open_cabinet(tmp_path)
        file = await cabinet.upload()
        await cabinet.attach(ALICE, cabinet.shelf.id, ToAttach(file=file.id))
        await cabinet.shelf.work()
        cabinet.shelf.faults = faults
        acknowledged = False
        with suppress(DomainError):
            await cabinet.delete(ALICE, file.id)
            acknowledged = True
        cabinet.shelf.faults = None
        at_once = await cabinet.listed(), await cabinet.search(cabinet.shelf.id)

        await cabinet.recover()

        assert at_once in (([], []), ([file.id], [file.id]))
        assert at_once == ([], []) or not acknowledged
        assert len(await cabinet.shelf.blobs.keys()) == len(at_once[0])
        assert await cabinet.shelf.indexed("fox") == len(at_once[1])


async def test_the_own_file_of_a_document_goes_with_it_at_once(cabinet: Cabinet) -> None:
    document, _ = await cabinet.shelf.upload(TEXT)

    await cabinet.delete(ALICE, FileId(document.id))

    assert not await cabinet.shelf.blobs.keys()


async def test_a_file_deleted_on_its_way_in_is_not_found(cabinet: Cabinet) -> None:
    file = await cabinet.upload()
    await cabinet.attach(ALICE, cabinet.shelf.id, ToAttach(file=file.id))

    await cabinet.delete(ALICE, file.id)
    await cabinet.recover()

    assert await cabinet.search(cabinet.shelf.id) == []
    assert await cabinet.shelf.indexed("fox") == 0
    assert await cabinet.shelf.blobs.keys() == []


async def test_an_expired_file_is_gone_with_its_documents(cabinet: Cabinet) -> None:
    file = await cabinet.upload(expires_after=timedelta(hours=1))
    await cabinet.attach(ALICE, cabinet.shelf.id, ToAttach(file=file.id))
    await cabinet.shelf.work()

    cabinet.shelf.clock.advance(timedelta(hours=1))
    hidden = await cabinet.listed()
    with pytest.raises(StoredFileNotFound):
        await cabinet.attach(ALICE, await cabinet.new_store(), ToAttach(file=file.id))
    await cabinet.sweep()

    assert hidden == []
    assert await cabinet.search(cabinet.shelf.id) == []
    assert await cabinet.shelf.blobs.keys() == []


async def test_content_is_not_given_up_before_its_file_can_be_there(cabinet: Cabinet) -> None:
    await cabinet.upload()
    lonely = BlobKey("file-nobody")

    async def content() -> object:
        yield b"x"

    await cabinet.shelf.blobs.put(lonely, content())  # type: ignore[arg-type]
    await cabinet.sweep()
    early = await cabinet.shelf.blobs.keys()
    cabinet.shelf.clock.advance(cabinet.sweep.orphaned_after)
    await cabinet.sweep()

    assert lonely in early
    assert len(await cabinet.shelf.blobs.keys()) == 1


async def test_a_store_that_nobody_uses_ends(cabinet: Cabinet) -> None:
    store, clock = await cabinet.new_store(expires_after=DAY), cabinet.shelf.clock
    sweep = SweepVectorStores(cabinet.shelf.store.transactions, cabinet.shelf.delete, clock)
    find = FindVectorStore(cabinet.shelf.store.file_views, clock)

    clock.advance(DAY / 2)
    await cabinet.search(store)  # puts the end off
    clock.advance(DAY * 3 / 4)
    await sweep()
    used = await find(ALICE, store)
    clock.advance(DAY)
    with pytest.raises(VectorStoreExpired):
        await cabinet.search(store)
    over = await find(ALICE, store)
    await sweep()

    assert (used.status, over.status) == (StoreStatus.COMPLETED, StoreStatus.EXPIRED)
    with pytest.raises(KnowledgeBaseNotFound):
        await find(ALICE, store)
    assert (await find(ALICE, cabinet.shelf.id)).status is StoreStatus.COMPLETED  # has no end


async def test_whoever_searches_a_store_puts_its_end_off_until_that_has_come(cabinet: Cabinet) -> None:
    store, clock = await cabinet.new_store(expires_after=DAY), cabinet.shelf.clock
    retrieve, talk = cabinet.shelf.retrieve(), Thread(conversation=a_conversation(), messages=[])
    find = FindSources(cabinet.shelf.store.knowledge_views, retrieve, OpenCcFolding())
    search = DocumentSearch(knowledge_bases=[store])

    for _ in range(2):
        clock.advance(DAY * 0.9)
        await retrieve(ALICE, store, "fox")
        clock.advance(DAY * 0.9)
        await find(ALICE, search, talk, "Summarise the document", budget=1000)
    used = (await cabinet.shelf.store.file_views.vector_store(ALICE, store)).at(clock())
    clock.advance(DAY)

    assert not used.is_expired
    with pytest.raises(VectorStoreExpired):
        await retrieve(ALICE, store, "fox")
    with pytest.raises(VectorStoreExpired):
        await find(ALICE, search, talk, "Summarise the document", budget=1000)


def test_chunks_are_measured_in_tokens() -> None:
    sizes = Chunking(longest=200, overlap=50).sizes

    assert (sizes.longest, sizes.longest_dense, sizes.overlap) == (800, 200, 200)
    assert (USUAL_CHUNKING.longest, USUAL_CHUNKING.overlap) == (500, 37)
    for longest, overlap in [(99, 0), (4097, 0), (200, 101), (200, -1)]:
        with pytest.raises(InvalidChunking):
            Chunking(longest=longest, overlap=overlap)
