"""What every adapter of `KnowledgeViews` keeps. `DocumentsContract` includes it."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from llm_backend.application.ports.views import FindableDocument
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    EmbeddingSpace,
    StoredChunk,
)
from llm_backend.testing.builders import NOON, a_chunk, a_document, a_knowledge_base, a_user
from llm_backend.testing.contracts.store import (
    ALICE,
    Store,
    given,
    given_pending,
    given_ready,
)

SHELF = KnowledgeBaseId("shelf-1")
SPACE = a_knowledge_base().space
FIRST = DocumentId("document-1")


async def given_a_shelf(store: Store) -> None:
    await given(store, a_user(1), a_user(2), a_knowledge_base("shelf-1", owner=1), a_knowledge_base("shelf-2", owner=2))


async def bury(store: Store, document: DocumentId, *, owner: UserId = ALICE, shelf: KnowledgeBaseId = SHELF) -> None:
    async with store.transactions() as work:
        await work.documents.bury(owner, shelf, document)
        await work.commit()


async def tombstones(store: Store) -> list[DocumentId]:
    async with store.transactions() as work:
        return sorted(await work.documents.tombstones())


async def listed(store: Store, owner: UserId = ALICE, shelf: KnowledgeBaseId = SHELF) -> list[str]:
    return [summary.id for summary in await store.knowledge_views.documents(owner, shelf)]


class KnowledgeViewsContract:
    """What is ready, and nothing else, in order. Needs the fixture `store`."""

    async def test_the_list_has_the_oldest_first(self, store: Store) -> None:
        await given_a_shelf(store)
        for name, hours in [("c", 0), ("a", -3), ("b", 4)]:
            await given_ready(store, a_document(name, created_at=NOON + timedelta(hours=hours)))

        assert await listed(store) == ["c", "a", "b"]

    async def test_only_ready_ones_of_the_shelf_are_found(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("ready", attempt=4, name="a name"))
        await given_ready(store, a_document("not asked for"))
        await given_ready(store, a_document("of bob", knowledge_base="shelf-2", owner=2))
        await given_ready(store, a_document("buried"))
        await bury(store, DocumentId("buried"))
        await given_pending(store, a_document("pending"))
        asked = [
            DocumentId(name) for name in ("ready", "of bob", "buried", "pending", "unknown", "x' OR '1'='1", "ready")
        ]

        found = await store.knowledge_views.findable(ALICE, SHELF, asked)

        assert dict(found) == {"ready": FindableDocument(name="a name", attempt=4)}
        assert not await store.knowledge_views.findable(ALICE, SHELF, [])

    @pytest.mark.parametrize(("start", "end"), [(0, 3), (2, 9), (4, 5), (0, 14), (12, 99), (5, 5), (14, 20)])
    async def test_a_quotation_is_those_characters_of_the_text(self, store: Store, start: int, end: int) -> None:
        text = "a👩\u200d👧é中\u2028b\n'c'\ufeffd\r\n"
        await given_a_shelf(store)
        await given_ready(store, a_document(), text=text, chunks=[])

        assert await store.knowledge_views.quotation(ALICE, FIRST, start, end) == text[start:end]

    async def test_statistics_are_of_the_ready_documents_of_one_shelf(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("one"), statistics=bytes(range(256)))
        await given_ready(store, a_document("two"), statistics=b"terms")
        await given_ready(store, a_document("without"))
        await given_ready(store, a_document("of bob", knowledge_base="shelf-2", owner=2), statistics=b"others")

        assert set(await store.knowledge_views.statistics(SHELF, SPACE)) == {bytes(range(256)), b"terms"}

    async def test_limited_statistics_are_of_the_newest_documents_that_have_some(self, store: Store) -> None:
        await given_a_shelf(store)
        for name, hours in [("one", 9), ("two", 0), ("three", -9)]:
            created_at = NOON + timedelta(hours=hours)
            await given_ready(store, a_document(name, created_at=created_at), statistics=name.encode())
        await given_ready(store, a_document("without"))

        assert set(await store.knowledge_views.statistics(SHELF, SPACE, limit=2)) == {b"two", b"three"}

    async def test_the_stamp_changes_with_the_ready_documents_and_only_then(self, store: Store) -> None:
        await given_a_shelf(store)
        views, stamps = store.knowledge_views, list[str]()

        stamps.append(await views.statistics_stamp(SHELF))
        await given_pending(store, a_document("pending"))
        await given_ready(store, a_document("of bob", knowledge_base="shelf-2", owner=2))
        assert await views.statistics_stamp(SHELF) == stamps[0]
        for name in ("one", "two"):
            await given_ready(store, a_document(name))
            stamps.append(await views.statistics_stamp(SHELF))
        await bury(store, DocumentId("two"))
        async with store.transactions() as work:
            await work.documents.forget(DocumentId("two"))
            await work.commit()
        await given_ready(store, a_document("three"))
        stamps.append(await views.statistics_stamp(SHELF))

        assert len(set(stamps)) == 4

    async def test_every_space_of_a_knowledge_base_is_known_once(self, store: Store) -> None:
        other = EmbeddingSpace(model="hash-4", dimensions=8)
        await given_a_shelf(store)
        await given(store, a_knowledge_base("shelf-3", space=other))

        spaces = await store.knowledge_views.spaces()

        assert sorted(spaces, key=lambda space: space.dimensions) == [SPACE, other]

    async def test_chunks_of_another_space_are_not_among_those_of_a_space(self, store: Store) -> None:
        other = EmbeddingSpace(model="other", dimensions=4)
        await given_a_shelf(store)
        await given(store, a_knowledge_base("shelf-3", space=other))
        await given_ready(store, a_document("here"))
        await given_ready(store, a_document("there", knowledge_base="shelf-3"))

        views = store.knowledge_views
        assert [stored.document for stored in await views.chunks(SPACE)] == ["here"]
        assert [stored.document for stored in await views.chunks(other)] == ["there"]

    async def test_chunks_of_ready_documents_are_counted_for_each_space(self, store: Store) -> None:
        other = EmbeddingSpace(model="other", dimensions=4)
        await given_a_shelf(store)
        await given(store, a_knowledge_base("shelf-3", space=other))
        await given_ready(store, a_document("here"), chunks=[a_chunk(0), a_chunk(1)])
        await given_ready(store, a_document("there", knowledge_base="shelf-3"))
        await given_ready(store, a_document("gone"))
        await bury(store, DocumentId("gone"))

        views = store.knowledge_views
        assert await views.chunk_counts(SPACE) == {("here", 1): 2}
        assert await views.chunk_counts(other) == {("there", 1): 1}
        assert not await views.chunk_counts(EmbeddingSpace(model="other", dimensions=8))

    async def test_all_chunks_can_be_read_page_by_page(self, store: Store) -> None:
        await given_a_shelf(store)
        for name, count in [("a", 3), ("b", 0), ("c", 4)]:
            await given_ready(store, a_document(name), chunks=[a_chunk(n) for n in range(count)])

        pages: list[Sequence[StoredChunk]] = []
        after: tuple[DocumentId, int] | None = None
        while page := await store.knowledge_views.chunks(SPACE, after=after, limit=2):
            pages.append(page)
            after = (page[-1].document, page[-1].chunk.position)

        assert [len(page) for page in pages] == [2, 2, 2, 1]
        found = [(one.document, one.chunk.position) for page in pages for one in page]
        assert found == [("a", 0), ("a", 1), ("a", 2), ("c", 0), ("c", 1), ("c", 2), ("c", 3)]
