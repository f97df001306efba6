"""What every adapter of `Files`, `VectorStores` and `FileViews` keeps.

Long because: the three are views of the same things, and are tried with the same ones.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from llm_backend.application.ports.file_views import Slice
from llm_backend.domain.errors import (
    FileBatchNotFound,
    IngestionCancelled,
    KnowledgeBaseNotFound,
    StoredFileNotFound,
)
from llm_backend.domain.files import Attachment, Chunking, Purpose, StoredFile
from llm_backend.domain.ids import DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Document
from llm_backend.domain.vector_stores import FileBatch, FileCounts, FileStatus, StoreSettings
from llm_backend.testing.builders import NOON, a_document, a_file, a_knowledge_base, a_user
from llm_backend.testing.contracts.store import ALICE, BOB, ODD_TEXTS, Store, given, given_pending, given_ready

HOUR = timedelta(hours=1)
SHELF = KnowledgeBaseId("shelf-1")


async def given_users(store: Store) -> None:
    """Two, each with a knowledge base: `shelf-1` and `shelf-2`."""
    await given(store, a_user(1), a_user(2), a_knowledge_base("shelf-1"), a_knowledge_base("shelf-2", owner=2))


async def given_files(store: Store, *files: StoredFile) -> None:
    async with store.transactions() as work:
        for file in files:
            await work.files.add(file)
        await work.commit()


async def given_attached(
    store: Store, document: Document, file: FileId, chunking: Chunking | None = None, *, batch: FileBatch | None = None
) -> None:
    """A pending document that was a file."""
    await given_pending(store, document)
    async with store.transactions() as work:
        await work.files.attach(Attachment(document=document.id, file=file, chunking=chunking))
        if batch:
            await work.vector_stores.add_batch(batch, [document.id])
        await work.commit()


def a_batch(id: str = "batch-1", *, owner: UserId = ALICE, knowledge_base: str = "shelf-1") -> FileBatch:  # noqa: A002
    return FileBatch(id=FileBatchId(id), owner=owner, knowledge_base=KnowledgeBaseId(knowledge_base), created_at=NOON)


async def listed(store: Store, owner: UserId = ALICE, *, now: datetime = NOON, limit: int = 100) -> list[str]:
    return [file.id for file in await store.file_views.files(owner, now=now, limit=limit)]


SLICES: list[tuple[Slice[Any], str]] = [  # of "abcde", in the order in which they were made
    (Slice(limit=2), "ed"),
    (Slice(limit=9, newest_first=False), "abcde"),
    (Slice(limit=2, after="d"), "cb"),
    (Slice(limit=9, newest_first=False, after="c"), "de"),
    (Slice(limit=2, before="b"), "dc"),
    (Slice(limit=2, newest_first=False, before="d"), "bc"),
    (Slice(limit=9, after="e", before="b"), "dc"),
    (Slice(limit=1, newest_first=False, after="a", before="e"), "b"),
    (Slice(limit=9, after="a"), ""),
    (Slice(limit=0), ""),
]


class FilesContract:
    """Files: each is stored whole, seen by its owner alone, and listed by the time it was made. Needs the fixture
    `store`."""

    async def test_a_file_comes_back_whole(self, store: Store) -> None:
        await given_users(store)
        file = StoredFile(
            id=FileId("0f5c2f58-7f3e-4a1e-9a3e-5b8e6d1c2a3b"),
            owner=ALICE,
            name=ODD_TEXTS[0],
            purpose=Purpose.FINE_TUNE,
            size=2**40,
            sha256="a" * 64,
            created_at=NOON.replace(microsecond=123456),
            expires_at=NOON.replace(microsecond=123456) + 5 * HOUR,
        )

        await given_files(store, file)

        assert await store.file_views.file(ALICE, file.id) == file
        assert await store.file_views.files(ALICE, now=NOON, limit=10) == [file]
        async with store.transactions() as work:
            assert await work.files.hold(ALICE, file.id) == file

    async def test_a_file_of_somebody_else_looks_absent(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"))

        assert await listed(store, BOB) == []
        for owner, file in [(BOB, FileId("a")), (ALICE, FileId("b"))]:
            with pytest.raises(StoredFileNotFound):
                await store.file_views.file(owner, file)
            async with store.transactions() as work:
                with pytest.raises(StoredFileNotFound):
                    await work.files.hold(owner, file)
            async with store.transactions() as work:
                with pytest.raises(StoredFileNotFound):
                    await work.files.remove(owner, file)
            async with store.transactions() as work:
                assert not await work.files.attached(owner, file)

    async def test_files_are_listed_by_time_and_page_by_page(self, store: Store) -> None:
        await given_users(store)
        times = [NOON + HOUR, NOON, NOON, NOON + 2 * HOUR]
        files = [a_file(name, created_at=time) for name, time in zip("abcd", times, strict=True)]
        await given_files(store, *files)

        pages: dict[tuple[bool, str | None, int], Sequence[str]] = {}
        for newest_first, after, limit in [
            (True, None, 9), (True, "d", 2), (True, "c", 9), (True, "b", 9), (False, None, 2), (False, "c", 9),
        ]:  # fmt: skip
            found = await store.file_views.files(
                ALICE, now=NOON, limit=limit, newest_first=newest_first, after=FileId(after) if after else None
            )
            pages[newest_first, after, limit] = "".join(file.id for file in found)

        assert list(pages.values()) == ["dacb", "ac", "b", "", "bc", "ad"]

    async def test_lists_go_by_purpose_and_leave_out_what_has_expired(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"), a_file("b", purpose=Purpose.BATCH), a_file("c", expires_at=NOON + HOUR))

        of_batches = await store.file_views.files(ALICE, now=NOON, limit=9, purpose=Purpose.BATCH)

        assert [file.id for file in of_batches] == ["b"]
        assert await listed(store, now=NOON + HOUR) == ["b", "a"]
        assert (await store.file_views.file(ALICE, FileId("c"))).expires_at == NOON + HOUR
        async with store.transactions() as work:
            assert await work.files.expired(NOON + HOUR) == [(ALICE, "c")]
            assert await work.files.expired(NOON) == []
            assert set(await work.files.present([FileId("a"), FileId("x' OR '1'='1")])) == {"a"}

    async def test_a_document_is_a_file(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"))
        await given_ready(store, a_document("document-1", created_at=NOON + HOUR))

        found = await store.file_views.file(ALICE, FileId("document-1"))

        assert (found.name, found.size, found.purpose) == ("document-1.txt", 11, Purpose.ASSISTANTS)
        assert await listed(store) == ["document-1", "a"]
        page = await store.file_views.files(ALICE, now=NOON, limit=9, after=FileId("document-1"))
        assert [file.id for file in page] == ["a"]
        async with store.transactions() as work:
            assert await work.files.attachment(DocumentId("document-1")) is None
            with pytest.raises(StoredFileNotFound):
                await work.files.hold(ALICE, FileId("document-1"))

    async def test_what_a_file_has_become_stands_for_it(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"))
        chunking = Chunking(longest=200, overlap=50)
        await given_attached(store, a_document("document-1"), FileId("a"), chunking)

        assert await listed(store) == ["a"]
        assert (await store.file_views.file(ALICE, FileId("document-1"))).id == "a"
        with pytest.raises(StoredFileNotFound):
            await store.file_views.file(BOB, FileId("document-1"))
        async with store.transactions() as work:
            attachment = await work.files.attachment(DocumentId("document-1"))
            assert attachment == Attachment(document=DocumentId("document-1"), file=FileId("a"), chunking=chunking)
            assert [one.id for one in await work.files.attached(ALICE, FileId("a"))] == ["document-1"]

    async def test_a_removed_file_leaves_no_attachment(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"))
        await given_attached(store, a_document("document-1"), FileId("a"))

        async with store.transactions() as work:
            await work.documents.bury(ALICE, SHELF, DocumentId("document-1"))
            await work.files.remove(ALICE, FileId("a"))
            await work.commit()

        assert await listed(store) == []
        async with store.transactions() as work:
            assert await work.files.attachment(DocumentId("document-1")) is None
            assert not await work.files.attached(ALICE, FileId("a"))
            await work.documents.forget(DocumentId("document-1"))
            await work.commit()


class VectorStoresContract:
    """Vector stores: knowledge bases with settings, counts, files and batches. Needs the fixture `store`."""

    async def test_settings_come_back_whole(self, store: Store) -> None:
        await given_users(store)
        settings = StoreSettings(
            metadata={text: text for text in ODD_TEXTS},
            description=ODD_TEXTS[3],
            expires_after=timedelta(days=7),
            last_active_at=NOON.replace(microsecond=7),
        )

        async with store.transactions() as work:
            await work.vector_stores.configure(ALICE, SHELF, StoreSettings(last_active_at=NOON))
            await work.vector_stores.configure(ALICE, SHELF, settings)
            await work.commit()

        assert (await store.file_views.vector_store(ALICE, SHELF)).settings == settings
        async with store.transactions() as work:
            assert await work.vector_stores.expiring() == [(ALICE, SHELF, settings)]

    async def test_every_knowledge_base_is_a_vector_store(self, store: Store) -> None:
        await given_users(store)
        await given(store, a_knowledge_base("shelf-3"))

        found = await store.file_views.vector_stores(ALICE)

        assert [one.base for one in found] == [a_knowledge_base("shelf-3"), a_knowledge_base("shelf-1")]
        assert all(one.settings == StoreSettings(last_active_at=NOON) for one in found)
        assert all(one.counts == FileCounts() and one.bytes_used == 0 for one in found)

    @pytest.mark.parametrize(("part", "expected"), SLICES)
    async def test_a_part_of_the_stores_is_read(
        self, store: Store, part: Slice[KnowledgeBaseId], expected: str
    ) -> None:
        await given(store, a_user(1), a_user(2))
        await given(store, *(a_knowledge_base(name) for name in "abcde"), a_knowledge_base("x", owner=2))

        found = await store.file_views.vector_stores(ALICE, part)

        assert "".join(one.base.id for one in found) == expected

    @pytest.mark.parametrize(("part", "expected"), SLICES)
    async def test_a_part_of_the_files_is_read(self, store: Store, part: Slice[FileId], expected: str) -> None:
        await given_users(store)
        await given_files(store, a_file("b"), a_file("d"))
        for name in "abcde":
            if name in "bd":
                await given_attached(store, a_document(f"document-{name}"), FileId(name))
            else:
                await given_pending(store, a_document(name))

        found = await store.file_views.store_files(ALICE, SHELF, part)
        pending = await store.file_views.store_files(ALICE, SHELF, part, status=FileStatus.IN_PROGRESS)
        failed = await store.file_views.store_files(ALICE, SHELF, part, status=FileStatus.FAILED)

        assert "".join(one.file for one in found) == expected
        assert found == pending
        assert not failed

    async def test_files_are_listed_by_batch_and_by_how_far_they_have_come(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, *(a_file(name) for name in "abc"))
        for name in "abc":
            await given_attached(store, a_document(f"document-{name}"), FileId(name), batch=a_batch(f"batch-{name}"))
        await given_pending(store, a_document("d"))
        async with store.transactions() as work:
            await work.documents.mark_failed(DocumentId("document-a"), "document_unreadable")
            await work.documents.cancel(ALICE, DocumentId("document-b"), IngestionCancelled.code)
            await work.commit()
        views, batch = store.file_views, FileBatchId("batch-a")
        whole: Slice[FileId] = Slice(limit=9)

        by_status = {
            status: [one.file for one in await views.store_files(ALICE, SHELF, whole, status=status)]
            for status in FileStatus
        }
        of_batch = await views.store_files(ALICE, SHELF, whole, batch=batch)
        cancelled = await views.store_files(ALICE, SHELF, whole, batch=batch, status=FileStatus.CANCELLED)

        assert by_status == {
            FileStatus.IN_PROGRESS: ["d", "c"],
            FileStatus.COMPLETED: [],
            FileStatus.FAILED: ["a"],
            FileStatus.CANCELLED: ["b"],
        }
        assert ([one.file for one in of_batch], list(cancelled)) == (["a"], [])
        with pytest.raises(KnowledgeBaseNotFound):
            await views.store_files(BOB, SHELF, whole)

    async def test_files_are_counted_by_how_far_they_have_come(self, store: Store) -> None:
        await given_users(store)
        await given_ready(store, a_document("ready"))
        await given_ready(store, a_document("ready too"))
        for name in ("pending", "broken", "cancelled", "deleted"):
            await given_pending(store, a_document(name))
        async with store.transactions() as work:
            await work.documents.mark_failed(DocumentId("broken"), "document_unreadable")
            await work.documents.cancel(ALICE, DocumentId("cancelled"), IngestionCancelled.code)
            await work.documents.bury(ALICE, SHELF, DocumentId("deleted"))
            await work.commit()

        counts = FileCounts(completed=2, in_progress=1, failed=1, cancelled=1)
        found = await store.file_views.vector_store(ALICE, SHELF)
        files = await store.file_views.store_files(ALICE, SHELF)

        assert (found.counts, found.bytes_used) == (counts, 22)
        assert await store.file_views.vector_stores(ALICE) == [found]
        assert [file.file for file in files] == ["cancelled", "broken", "pending", "ready too", "ready"]
        assert FileCounts.of([file.status for file in files]) == counts

    async def test_a_file_in_a_store_goes_by_its_own_id(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"))
        chunking = Chunking(longest=200, overlap=0)
        await given_attached(store, a_document("document-1"), FileId("a"), chunking)

        (found,) = await store.file_views.store_files(ALICE, SHELF)

        assert (found.file, found.chunking, found.status) == ("a", chunking, FileStatus.IN_PROGRESS)
        assert found.document == a_document("document-1")
        assert await store.file_views.store_file(ALICE, SHELF, FileId("a")) == found
        members = [DocumentId("document-1"), DocumentId("gone")]
        assert await store.file_views.files_of(ALICE, SHELF, members) == {"document-1": found}
        assert not await store.file_views.files_of(BOB, SHELF, members)
        with pytest.raises(StoredFileNotFound):
            await store.file_views.store_file(ALICE, SHELF, FileId("document-1"))

    async def test_a_batch_has_the_files_that_were_attached_with_it(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"))
        await given_pending(store, a_document("document-1"))
        await given_attached(store, a_document("document-2"), FileId("a"), batch=a_batch())

        files = await store.file_views.store_files(ALICE, SHELF, batch=FileBatchId("batch-1"))
        async with store.transactions() as work:
            await work.vector_stores.cancel_batch(ALICE, SHELF, FileBatchId("batch-1"))
            await work.commit()

        assert [file.file for file in files] == ["a"]
        cancelled = await store.file_views.batch(ALICE, SHELF, FileBatchId("batch-1"))
        assert cancelled == replace(a_batch(), is_cancelled=True)

    async def test_what_is_somebody_elses_looks_absent(self, store: Store) -> None:
        await given_users(store)
        await given_ready(store, a_document("document-1"))
        async with store.transactions() as work:
            await work.vector_stores.add_batch(a_batch(), [DocumentId("document-1")])
            await work.commit()
        views, batch = store.file_views, FileBatchId("batch-1")

        assert [one.base.id for one in await views.vector_stores(BOB)] == ["shelf-2"]
        for call in (views.vector_store, views.store_files):
            with pytest.raises(KnowledgeBaseNotFound):
                await call(BOB, SHELF)
        with pytest.raises(KnowledgeBaseNotFound):
            await views.store_file(BOB, SHELF, FileId("document-1"))
        with pytest.raises(StoredFileNotFound):
            await views.store_file(BOB, KnowledgeBaseId("shelf-2"), FileId("document-1"))
        assert not await views.store_files(BOB, KnowledgeBaseId("shelf-2"), batch=batch)
        for owner, shelf in [(BOB, SHELF), (BOB, KnowledgeBaseId("shelf-2"))]:
            with pytest.raises(FileBatchNotFound):
                await views.batch(owner, shelf, batch)
            async with store.transactions() as work:
                with pytest.raises(FileBatchNotFound):
                    await work.vector_stores.cancel_batch(owner, shelf, batch)
        async with store.transactions() as work:
            with pytest.raises(KnowledgeBaseNotFound):
                await work.vector_stores.configure(BOB, SHELF, StoreSettings(last_active_at=NOON))
        async with store.transactions() as work:
            with pytest.raises(KnowledgeBaseNotFound):
                await work.vector_stores.add_batch(a_batch("batch-2", owner=BOB), [])
        async with store.transactions() as work:
            with pytest.raises(KnowledgeBaseNotFound):
                await work.knowledge_bases.rename(a_knowledge_base("shelf-1", owner=2, name="Mine"))

    async def test_use_puts_the_end_off_and_a_new_name_is_seen(self, store: Store) -> None:
        await given_users(store)
        async with store.transactions() as work:
            await work.vector_stores.touch(SHELF, NOON)  # nothing is noted down about it
            await work.vector_stores.configure(
                ALICE, SHELF, StoreSettings(expires_after=timedelta(days=1), last_active_at=NOON)
            )
            await work.vector_stores.touch(SHELF, NOON + HOUR)
            await work.knowledge_bases.rename(a_knowledge_base("shelf-1", name="Another"))
            await work.commit()

        found = await store.file_views.vector_store(ALICE, SHELF)

        assert found.settings.expires_at == NOON + timedelta(days=1) + HOUR
        assert found.base.name == "Another"

    async def test_with_the_knowledge_base_all_is_gone(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a"))
        await given_attached(store, a_document("document-1"), FileId("a"), batch=a_batch())
        async with store.transactions() as work:
            await work.vector_stores.configure(
                ALICE, SHELF, StoreSettings(expires_after=timedelta(days=1), last_active_at=NOON)
            )
            await work.commit()

        async with store.transactions() as work:
            await work.knowledge_bases.remove(ALICE, SHELF)
            await work.commit()

        assert await store.file_views.vector_stores(ALICE) == []
        assert await listed(store) == ["a"]
        with pytest.raises(FileBatchNotFound):
            await store.file_views.batch(ALICE, SHELF, FileBatchId("batch-1"))
        async with store.transactions() as work:
            assert await work.vector_stores.expiring() == []
            assert not await work.files.attached(ALICE, FileId("a"))
