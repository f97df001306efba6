"""What every adapter of `Documents` and `KnowledgeViews` keeps of documents on their way in."""

from dataclasses import replace
from datetime import timedelta

import pytest

from llm_backend.application.ports.views import FindableDocument
from llm_backend.domain.errors import DocumentNotFound
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import Block, DocumentState, DocumentStatus, EmbeddingSpace, IngestionStep
from llm_backend.testing.builders import NOON, a_chunk, a_document
from llm_backend.testing.contracts.knowledge_views import FIRST, SHELF, SPACE, bury, given_a_shelf, listed, tombstones
from llm_backend.testing.contracts.store import ALICE, BOB, Store, a_vector, given_pending, given_ready


async def begin_attempt(store: Store, document: DocumentId = FIRST) -> int | None:
    async with store.transactions() as work:
        attempt = await work.documents.begin_attempt(document)
        await work.commit()
    return attempt


async def mark_failed(store: Store, document: DocumentId = FIRST, reason: str = "document_empty") -> bool:
    async with store.transactions() as work:
        failed = await work.documents.mark_failed(document, reason)
        await work.commit()
    return failed


async def store_contents(store: Store, attempt: int, text: str) -> bool:
    """A Markdown file of one chunk and one block."""
    block = Block(start=0, end=len(text))
    async with store.transactions() as work:
        stored = await work.documents.store_contents(FIRST, attempt, "md", text, [a_chunk(text=text)], [block])
        await work.commit()
    return stored


async def mark_readable(
    store: Store, attempt: int = 1, *, document: DocumentId = FIRST, space: EmbeddingSpace = SPACE
) -> int | None:
    async with store.transactions() as work:
        going_on = await work.documents.mark_readable(document, attempt, space)
        await work.commit()
    return going_on


async def given_readable(store: Store, text: str = "only words") -> None:
    """The first document, read by its first attempt, which goes on as the second."""
    await given_pending(store, a_document(attempt=0))
    await begin_attempt(store)
    assert await store_contents(store, 1, text)
    assert await mark_readable(store) == 2


async def attempt_found(store: Store, owner: UserId = ALICE, shelf: KnowledgeBaseId = SHELF) -> int | None:
    found = await store.knowledge_views.findable(owner, shelf, [FIRST])
    return found[FIRST].attempt if found else None


async def state_of(store: Store, document: DocumentId = FIRST) -> DocumentState | None:
    async with store.transactions() as work:
        found = await work.documents.find(document)
    return found[0].state if found else None


class IngestionContract:
    """From pending to ready or failed, once, by the newest attempt. Needs the fixture `store`."""

    async def test_a_document_is_found_in_every_state(self, store: Store) -> None:
        await given_a_shelf(store)
        document = a_document(attempt=0)
        await given_pending(store, document)

        async with store.transactions() as work:
            assert await work.documents.find(FIRST) == (document, SPACE)
            assert await work.documents.find(DocumentId("unknown")) is None
        await mark_failed(store)
        assert await state_of(store) is DocumentState.FAILED
        await bury(store, FIRST)
        assert await state_of(store) is DocumentState.DELETED

    async def test_a_tombstone_is_found_after_its_shelf_is_gone(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document())
        async with store.transactions() as work:
            await work.knowledge_bases.remove(ALICE, SHELF)
            await work.commit()

        async with store.transactions() as work:
            found = await work.documents.find(FIRST)

        gone = replace(a_document(), knowledge_base=KnowledgeBaseId(""), state=DocumentState.DELETED)
        assert found == (gone, None)

    async def test_attempts_are_counted_while_it_is_pending(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document(attempt=0))

        attempts = [await begin_attempt(store) for _ in range(3)]

        assert attempts == [1, 2, 3]
        assert await begin_attempt(store, DocumentId("unknown")) is None
        await mark_failed(store)
        assert await begin_attempt(store) is None

    async def test_contents_take_the_place_of_those_of_an_earlier_attempt(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document(attempt=0))
        await begin_attempt(store)
        assert await store_contents(store, 1, "the first try")
        async with store.transactions() as work:
            await work.documents.store_vectors(FIRST, 1, SPACE, [a_vector(1)], b"stale")
            await work.commit()
        await begin_attempt(store)

        assert await store_contents(store, 2, "the second")
        async with store.transactions() as work:
            assert await work.documents.mark_ready(FIRST, 2)
            await work.commit()

        (stored,) = await store.knowledge_views.chunks(SPACE)
        assert (stored.chunk.text, stored.attempt, stored.vector) == ("the second", 2, None)
        assert await store.knowledge_views.quotation(ALICE, FIRST, 0, 100) == "the second"
        assert (await store.knowledge_views.excerpt(ALICE, FIRST, 0, 100)).blocks == [Block(start=0, end=10)]
        assert not await store.knowledge_views.statistics(SHELF, SPACE)
        assert (await store.knowledge_views.documents(ALICE, SHELF))[0].file_type == "md"

    async def test_contents_of_a_late_attempt_are_not_stored(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document(attempt=0))
        await begin_attempt(store)
        await begin_attempt(store)

        late = await store_contents(store, 1, "too late")
        await mark_failed(store)
        after_failure = await store_contents(store, 2, "too late")

        assert not late
        assert not after_failure
        assert (await store.knowledge_views.document(ALICE, FIRST)).document.file_type == "txt"

    async def test_a_failed_document_tells_why_and_is_nowhere_else_to_be_seen(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document(), chunks=[a_chunk()])

        assert await mark_failed(store, reason="document_unreadable")

        status = await store.knowledge_views.document(ALICE, FIRST)
        assert (status.document.state, status.document.reason) == (DocumentState.FAILED, "document_unreadable")
        assert (status.chunks, status.is_settled) == (0, True)
        assert await listed(store) == []
        assert not await store.knowledge_views.findable(ALICE, SHELF, [FIRST])
        assert not await store.knowledge_views.chunks(SPACE)

    async def test_only_what_is_pending_fails(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())

        assert not await mark_failed(store)
        assert not await mark_failed(store, DocumentId("unknown"))

        assert await listed(store) == [FIRST]

    async def test_a_document_is_cancelled_by_its_owner_alone(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document())

        async with store.transactions() as work:
            by_bob = await work.documents.cancel(BOB, FIRST, "ingestion_cancelled")
            by_alice = await work.documents.cancel(ALICE, FIRST, "ingestion_cancelled")
            again = await work.documents.cancel(ALICE, FIRST, "ingestion_cancelled")
            await work.commit()

        assert (by_bob, by_alice, again) == (False, True, False)
        async with store.transactions() as work:
            assert not await work.documents.mark_ready(FIRST, 1)
        assert (await store.knowledge_views.document(ALICE, FIRST)).document.reason == "ingestion_cancelled"

    async def test_what_is_pending_or_failed_can_be_deleted(self, store: Store) -> None:
        await given_a_shelf(store)
        for name in ("pending", "failed"):
            await given_pending(store, a_document(name))
        await mark_failed(store, DocumentId("failed"))

        for name in ("pending", "failed"):
            await bury(store, DocumentId(name))

        assert await tombstones(store) == ["failed", "pending"]
        for name in ("pending", "failed"):
            with pytest.raises(DocumentNotFound):
                await store.knowledge_views.document(ALICE, DocumentId(name))

    async def test_all_that_is_pending_is_found_oldest_first(self, store: Store) -> None:
        await given_a_shelf(store)
        for name, hours in [("c", 0), ("a", -3), ("b", 4)]:
            await given_pending(store, a_document(name, created_at=NOON + timedelta(hours=hours)))
        await given_ready(store, a_document("ready"))
        await given_pending(store, a_document("failed"))
        await mark_failed(store, DocumentId("failed"))

        async with store.transactions() as work:
            assert list(await work.documents.pending()) == ["c", "a", "b"]

    async def test_the_living_are_those_that_are_pending_or_ready(self, store: Store) -> None:
        await given_a_shelf(store)
        for name in ("pending", "failed", "deleted"):
            await given_pending(store, a_document(name))
        await given_ready(store, a_document("ready"))
        await mark_failed(store, DocumentId("failed"))
        await bury(store, DocumentId("deleted"))
        names = ["pending", "ready", "failed", "deleted", "unknown", "x' OR '1'='1"]

        async with store.transactions() as work:
            assert await work.documents.living([DocumentId(name) for name in names]) == {"pending", "ready"}
            assert await work.documents.living([]) == set()

    async def test_old_failures_are_buried(self, store: Store) -> None:
        await given_a_shelf(store)
        for name, hours in [("old", -2), ("young", 2), ("pending", -2)]:
            await given_pending(store, a_document(name, created_at=NOON + timedelta(hours=hours)))
        for name in ("old", "young"):
            await mark_failed(store, DocumentId(name))

        async with store.transactions() as work:
            buried = await work.documents.bury_failed(before=NOON)
            await work.commit()

        assert buried == 1
        assert await tombstones(store) == ["old"]

    async def test_the_status_tells_how_far_a_document_is(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document("pending"), chunks=[])
        await given_ready(store, a_document("ready"), chunks=[a_chunk(), a_chunk(1)])
        views = store.knowledge_views

        pending = await views.document(ALICE, DocumentId("pending"))
        ready = await views.document(ALICE, DocumentId("ready"))

        queued = a_document("pending")
        assert pending == DocumentStatus(document=queued, chunks=0, step=IngestionStep.QUEUED, percent=0)
        done = a_document("ready", state=DocumentState.READY)
        assert ready == DocumentStatus(document=done, chunks=2, step=IngestionStep.DONE, percent=100)

    async def test_the_status_of_somebody_elses_document_looks_absent(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())

        for owner, document in [(BOB, FIRST), (ALICE, DocumentId("x' OR '1'='1")), (ALICE, DocumentId("%"))]:
            with pytest.raises(DocumentNotFound):
                await store.knowledge_views.document(owner, document)

    async def test_what_is_readable_is_found_by_its_words_and_is_nowhere_else_to_be_seen(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_readable(store)
        views = store.knowledge_views

        found = await views.findable(ALICE, SHELF, [FIRST, DocumentId("unknown")])

        assert dict(found) == {FIRST: FindableDocument(name="document-1.txt", attempt=1, by_words_alone=True)}
        assert await views.quotation(ALICE, FIRST, 5, 10) == "words"
        status = await views.document(ALICE, FIRST)
        assert (status.document.state, status.document.readable_attempt) == (DocumentState.PENDING, 1)
        assert await listed(store) == []
        assert not await views.statistics(SHELF, SPACE)
        assert not await views.chunks_of(FIRST)
        with pytest.raises(DocumentNotFound):
            await views.excerpt(ALICE, FIRST, 0, 5)
        with pytest.raises(DocumentNotFound):
            await views.document_chunks(ALICE, FIRST, limit=1)

    async def test_what_is_readable_belongs_into_an_index_without_vectors(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("ready"), chunks=[a_chunk()])
        await given_readable(store)
        await begin_attempt(store)
        views = store.knowledge_views

        every = await views.chunks(SPACE)

        assert [(one.document, one.attempt, one.vector) for one in every] == [
            (FIRST, 1, None),
            ("ready", 1, a_vector(0)),
        ]
        assert await views.chunks(SPACE, limit=1) == [every[0]]
        assert await views.chunks(SPACE, after=(FIRST, 0)) == [every[1]]
        assert await views.chunk_counts(SPACE) == {(FIRST, 1): 1, ("ready", 1): 1}

    async def test_later_attempts_leave_what_is_readable(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_readable(store)

        assert [await begin_attempt(store) for _ in range(2)] == [3, 4]

        assert await attempt_found(store) == 1

    async def test_what_was_readable_is_ready_under_another_number(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_readable(store)

        async with store.transactions() as work:
            assert not await work.documents.mark_ready(FIRST, 1)
            await work.documents.store_vectors(FIRST, 2, SPACE, [a_vector(1)])
            assert await work.documents.mark_ready(FIRST, 2)
            await work.commit()

        views = store.knowledge_views
        assert dict(await views.findable(ALICE, SHELF, [FIRST])) == {
            FIRST: FindableDocument(name="document-1.txt", attempt=2)
        }
        assert [(one.attempt, one.vector) for one in await views.chunks(SPACE)] == [(2, a_vector(1))]
        assert [one.attempt for one in await views.chunks_of(FIRST)] == [2]
        assert await views.chunk_counts(SPACE) == {(FIRST, 2): 1}
        assert await listed(store) == [FIRST]

    async def test_only_the_newest_attempt_at_what_is_pending_makes_it_readable(self, store: Store) -> None:
        other = EmbeddingSpace(model="other", dimensions=4)
        await given_a_shelf(store)
        await given_pending(store, a_document(attempt=0))
        await given_ready(store, a_document("ready"))
        await begin_attempt(store)
        await begin_attempt(store)

        late, elsewhere = await mark_readable(store, 1), await mark_readable(store, 2, space=other)
        ready = await mark_readable(store, document=DocumentId("ready"))
        unknown = await mark_readable(store, document=DocumentId("unknown"))
        await mark_failed(store)
        failed = await mark_readable(store, 2)

        assert [late, elsewhere, ready, unknown, failed] == [None] * 5
        assert await attempt_found(store) is None

    @pytest.mark.parametrize("end", ["failed", "cancelled", "deleted", "shelf deleted"])
    async def test_what_fails_or_is_deleted_is_not_found_by_its_words_any_more(self, store: Store, end: str) -> None:
        await given_a_shelf(store)
        await given_readable(store)
        assert await attempt_found(store) == 1

        async with store.transactions() as work:
            match end:
                case "failed":
                    assert await work.documents.mark_failed(FIRST, "embedding_failed")
                case "cancelled":
                    assert await work.documents.cancel(ALICE, FIRST, "ingestion_cancelled")
                case "deleted":
                    await work.documents.bury(ALICE, SHELF, FIRST)
                case _:
                    await work.knowledge_bases.remove(ALICE, SHELF)
            await work.commit()

        views = store.knowledge_views
        assert await attempt_found(store) is None
        assert await views.quotation(ALICE, FIRST, 0, 5) is None
        assert not await views.chunks(SPACE)
        assert not await views.chunk_counts(SPACE)

    async def test_what_is_readable_is_found_by_its_owner_alone(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_readable(store)

        for owner, shelf in [(BOB, SHELF), (BOB, KnowledgeBaseId("shelf-2")), (ALICE, KnowledgeBaseId("shelf-2"))]:
            assert await attempt_found(store, owner, shelf) is None
        assert await store.knowledge_views.quotation(BOB, FIRST, 0, 5) is None
