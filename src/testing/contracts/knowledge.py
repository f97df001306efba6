"""What every adapter of `KnowledgeBases`, `Documents` and `KnowledgeViews` keeps."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llm_backend.domain.errors import DocumentNotFound, KnowledgeBaseNotFound
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import (
    Chunk,
    Document,
    DocumentState,
    DocumentSummary,
    EmbeddingSpace,
    KnowledgeBase,
    StoredChunk,
)
from llm_backend.testing.builders import NOON, a_chunk, a_document, a_knowledge_base, a_user
from llm_backend.testing.contracts.knowledge_views import (
    FIRST,
    SHELF,
    SPACE,
    KnowledgeViewsContract,
    bury,
    given_a_shelf,
    listed,
    tombstones,
)
from llm_backend.testing.contracts.store import (
    ALICE,
    BOB,
    ODD_TEXTS,
    Store,
    a_vector,
    given,
    given_pending,
    given_ready,
)

ABSENT = [(BOB, SHELF), (UserId(3), SHELF), (ALICE, KnowledgeBaseId("x' OR '1'='1")), (ALICE, KnowledgeBaseId("%"))]


class KnowledgeBasesContract:
    """Knowledge bases are seen by their owners alone, and their documents die with them. Needs the fixture `store`."""

    async def test_a_knowledge_base_comes_back_whole(self, store: Store) -> None:
        shelf = KnowledgeBase(
            id=KnowledgeBaseId("b2f1c1de-6f0e-4b8e-9d27-0a6f3f6f7a11"),
            owner=BOB,
            name="书架 👩 'q'",
            space=EmbeddingSpace(model="zhipu-embedding-3", dimensions=2048),
            created_at=datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
        )

        await given(store, a_user(2), shelf)

        async with store.transactions() as work:
            assert await work.knowledge_bases.get(BOB, shelf.id) == shelf
        assert await store.knowledge_views.knowledge_base(BOB, shelf.id) == shelf
        assert list(await store.knowledge_views.knowledge_bases(BOB)) == [shelf]

    async def test_the_list_has_the_oldest_first_and_only_the_owners(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2))
        for name, owner, hours in [("c", 1, 2), ("x", 2, 0), ("a", 1, -7), ("b", 1, 5)]:
            await given(store, a_knowledge_base(name, owner=owner, created_at=NOON + timedelta(hours=hours)))

        of_alice, of_bob = [await store.knowledge_views.knowledge_bases(owner) for owner in (ALICE, BOB)]

        assert [shelf.id for shelf in of_alice] == ["c", "a", "b"]
        assert [shelf.id for shelf in of_bob] == ["x"]

    @pytest.mark.parametrize(("owner", "shelf"), ABSENT)
    async def test_one_of_somebody_else_looks_absent(self, store: Store, owner: UserId, shelf: KnowledgeBaseId) -> None:
        await given_a_shelf(store)

        async with store.transactions() as work:
            with pytest.raises(KnowledgeBaseNotFound):
                await work.knowledge_bases.get(owner, shelf)
            with pytest.raises(KnowledgeBaseNotFound):
                await work.knowledge_bases.remove(owner, shelf)
            await work.commit()
        with pytest.raises(KnowledgeBaseNotFound):
            await store.knowledge_views.knowledge_base(owner, shelf)
        with pytest.raises(KnowledgeBaseNotFound):
            await store.knowledge_views.documents(owner, shelf)
        assert await store.knowledge_views.knowledge_base(ALICE, SHELF) == a_knowledge_base()

    async def test_removing_it_makes_tombstones_of_its_documents(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("ready"), statistics=b"terms")
        await given_pending(store, a_document("pending"))
        await given_ready(store, a_document("of bob", knowledge_base="shelf-2", owner=2))

        async with store.transactions() as work:
            await work.knowledge_bases.remove(ALICE, SHELF)
            await work.commit()

        views = store.knowledge_views
        assert not await views.knowledge_bases(ALICE)
        with pytest.raises(KnowledgeBaseNotFound):
            await views.documents(ALICE, SHELF)
        assert not await views.findable(ALICE, SHELF, [DocumentId("ready")])
        assert await views.quotation(ALICE, DocumentId("ready"), 0, 5) is None
        assert not await views.statistics(SHELF, SPACE)
        assert [stored.document for stored in await views.chunks(SPACE)] == ["of bob"]
        assert await tombstones(store) == ["pending", "ready"]
        assert await listed(store, BOB, KnowledgeBaseId("shelf-2")) == ["of bob"]


class DocumentsContract(KnowledgeViewsContract):
    """Documents are shown from ready to buried, and never in between. Needs the fixture `store`."""

    async def test_a_document_comes_back_whole(self, store: Store) -> None:
        await given_a_shelf(store)
        document = Document(
            id=DocumentId("0c6b2c3a-94f4-4f53-8f30-6b8a5bb3b1c7"),
            knowledge_base=SHELF,
            owner=ALICE,
            name="报告 'é' 👩.pdf",
            file_type="pdf",
            size=2**40,
            sha256="f" * 64,
            attempt=3,
            readable_attempt=2,
            attributes={"语言": "中文 'q'", "year": 2024, "ratio": 0.5, "public": True},
            replaces=True,
            created_at=datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
        )

        await given_ready(store, document)

        async with store.transactions() as work:
            found = await work.documents.get(ALICE, SHELF, document.id)
        assert found == replace(document, state=DocumentState.READY)
        assert list(await store.knowledge_views.documents(ALICE, SHELF)) == [
            DocumentSummary(
                id=document.id,
                knowledge_base=SHELF,
                name=document.name,
                file_type="pdf",
                attributes=document.attributes,
            )
        ]

    async def test_chunks_come_back_whole_with_their_vectors(self, store: Store) -> None:
        await given_a_shelf(store)
        chunks = [
            Chunk(
                position=position,
                start=10 * position,
                end=10 * position + len(text),
                text=text,
                headings=("第一章", text),
                page=position + 1,
                sheet=f"表 {text}",
                search_text=text.casefold() or "empty",
            )
            for position, text in enumerate(ODD_TEXTS)
        ]

        await given_ready(store, a_document(attempt=2), chunks=chunks)

        assert list(await store.knowledge_views.chunks(SPACE)) == [
            StoredChunk(knowledge_base=SHELF, document=FIRST, attempt=2, chunk=chunk, vector=a_vector(number))
            for number, chunk in enumerate(chunks)
        ]

    async def test_a_document_without_chunks_or_vectors_can_be_ready(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document(), chunks=[a_chunk()])

        async with store.transactions() as work:
            assert await work.documents.mark_ready(FIRST, 1)
            await work.commit()

        assert [stored.vector for stored in await store.knowledge_views.chunks(SPACE)] == [None]

    @pytest.mark.parametrize(("owner", "shelf"), ABSENT)
    async def test_a_document_needs_a_knowledge_base_of_its_owner(
        self, store: Store, owner: UserId, shelf: KnowledgeBaseId
    ) -> None:
        await given(store, a_user(3))
        await given_a_shelf(store)

        with pytest.raises(KnowledgeBaseNotFound):
            await given_pending(store, a_document(owner=owner, knowledge_base=shelf))

        async with store.transactions() as work:
            assert not await work.documents.pending()

    async def test_a_pending_document_is_nowhere_to_be_seen(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document())

        async with store.transactions() as work:
            await work.documents.store_vectors(FIRST, 1, SPACE, [a_vector(1)], b"terms")
            await work.commit()

        async with store.transactions() as work:
            with pytest.raises(DocumentNotFound):
                await work.documents.get(ALICE, SHELF, FIRST)
        views = store.knowledge_views
        assert await listed(store) == []
        assert not await views.findable(ALICE, SHELF, [FIRST])
        assert await views.quotation(ALICE, FIRST, 0, 5) is None
        assert not await views.statistics(SHELF, SPACE)
        assert not await views.chunks(SPACE)

    async def test_a_document_of_somebody_else_looks_absent(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document(), statistics=b"terms")
        views = store.knowledge_views

        for owner, shelf in [*ABSENT, (BOB, KnowledgeBaseId("shelf-2"))]:
            async with store.transactions() as work:
                with pytest.raises(DocumentNotFound):
                    await work.documents.get(owner, shelf, FIRST)
                with pytest.raises(DocumentNotFound):
                    await work.documents.bury(owner, shelf, FIRST)
                await work.commit()
            assert not await views.findable(owner, shelf, [FIRST])
        assert await views.quotation(BOB, FIRST, 0, 5) is None
        assert await listed(store) == [FIRST]

    async def test_a_late_attempt_makes_nothing_ready(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document(attempt=2))

        async with store.transactions() as work:
            assert not await work.documents.store_vectors(FIRST, 1, SPACE, [a_vector(9)], b"stale")
            assert not await work.documents.store_vectors(FIRST, 1, SPACE, [a_vector(9)], b"stale", first=1)
            assert not await work.documents.mark_ready(FIRST, 1)
            assert not await work.documents.mark_ready(DocumentId("unknown"), 1)
            await work.commit()
        assert await listed(store) == []
        async with store.transactions() as work:
            assert await work.documents.mark_ready(FIRST, 2)
            await work.commit()

        assert [stored.vector for stored in await store.knowledge_views.chunks(SPACE)] == [None]
        assert not await store.knowledge_views.statistics(SHELF, SPACE)

    async def test_a_document_deleted_in_the_meantime_does_not_become_ready(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document())

        async with store.transactions() as work:
            await work.knowledge_bases.remove(ALICE, SHELF)
            await work.commit()
        async with store.transactions() as work:
            await work.documents.store_vectors(FIRST, 1, SPACE, [a_vector(1)], b"terms")
            ready = await work.documents.mark_ready(FIRST, 1)
            await work.commit()

        assert not ready
        assert await tombstones(store) == [FIRST]

    async def test_a_buried_document_is_gone_from_sight(self, store: Store) -> None:
        await given_a_shelf(store)
        for name in ("document-1", "document-2"):
            await given_ready(store, a_document(name), statistics=f"terms of {name}".encode())

        await bury(store, FIRST)

        views = store.knowledge_views
        assert await listed(store) == ["document-2"]
        assert await views.quotation(ALICE, FIRST, 0, 5) is None
        assert list(await views.statistics(SHELF, SPACE)) == [b"terms of document-2"]
        assert [stored.document for stored in await views.chunks(SPACE)] == ["document-2"]
        assert await tombstones(store) == [FIRST]
        with pytest.raises(DocumentNotFound):
            await bury(store, FIRST)

    async def test_a_tombstone_is_forgotten_with_all_that_hangs_on_it(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document(), statistics=b"terms")
        await bury(store, FIRST)

        for _ in range(2):
            async with store.transactions() as work:
                await work.documents.forget(FIRST)
                await work.commit()

        assert await tombstones(store) == []
        await given_pending(store, a_document(), chunks=[a_chunk(), a_chunk(1)])

    async def test_those_of_the_same_name_are_told_while_they_are_there(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("ready", name="a.txt"))
        await given_pending(store, a_document("pending", name="a.txt", sha256="2"))
        await given_ready(store, a_document("of another name", name="b.txt"))
        await given_ready(store, a_document("of bob", knowledge_base="shelf-2", owner=2, name="a.txt"))
        await given_pending(store, a_document("failed", name="a.txt"))
        await given_ready(store, a_document("buried", name="a.txt"))
        await bury(store, DocumentId("buried"))

        async with store.transactions() as work:
            await work.documents.mark_failed(DocumentId("failed"), "document_unreadable")
            found = await work.documents.alike(ALICE, SHELF, "a.txt")

        assert [document.id for document in found] == ["ready", "pending"]
        assert found[1].sha256 == "2"

    @pytest.mark.parametrize(("owner", "shelf"), ABSENT)
    async def test_nothing_is_alike_where_one_may_not_look(
        self, store: Store, owner: UserId, shelf: KnowledgeBaseId
    ) -> None:
        await given_a_shelf(store)

        async with store.transactions() as work:
            with pytest.raises(KnowledgeBaseNotFound):
                await work.documents.alike(owner, shelf, "a.txt")

    async def test_attributes_are_replaced_as_a_whole_and_listed(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document(attributes={"year": 2023, "draft": True}))

        async with store.transactions() as work:
            await work.documents.describe(ALICE, FIRST, {"year": 2024})
            await work.commit()

        (document,) = await store.knowledge_views.documents(ALICE, SHELF)
        assert document.attributes == {"year": 2024}
        assert document.facts == {"year": 2024, "doc_id": FIRST, "doc_name": f"{FIRST}.txt", "file_type": "txt"}

    async def test_what_is_not_there_cannot_be_described(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())
        await given_ready(store, a_document("buried"))
        await bury(store, DocumentId("buried"))

        for owner, document in [(BOB, FIRST), (ALICE, DocumentId("buried")), (ALICE, DocumentId("x' OR '1'='1"))]:
            async with store.transactions() as work:
                with pytest.raises(DocumentNotFound):
                    await work.documents.describe(owner, document, {"year": 2024})
                await work.commit()
        assert [one.attributes for one in await store.knowledge_views.documents(ALICE, SHELF)] == [{}]

    async def test_a_new_version_buries_what_is_older_and_has_its_name(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("ready", name="a.txt"))
        await given_pending(store, a_document("pending", name="a.txt"))
        await given_ready(store, a_document("of another name", name="b.txt"))
        await given_ready(store, a_document("of bob", knowledge_base="shelf-2", owner=2, name="a.txt"))
        await given_ready(store, a_document("new", name="a.txt", replaces=True))
        await given_ready(store, a_document("newer", name="a.txt"))

        async with store.transactions() as work:
            buried = await work.documents.bury_replaced(DocumentId("new"))
            again = await work.documents.bury_replaced(DocumentId("new"))
            await work.commit()

        assert (sorted(buried), list(again)) == (["pending", "ready"], [])
        assert await listed(store) == ["of another name", "new", "newer"]
        assert await listed(store, BOB, KnowledgeBaseId("shelf-2")) == ["of bob"]

    async def test_what_is_no_tombstone_is_not_forgotten(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())

        async with store.transactions() as work:
            await work.documents.forget(FIRST)
            await work.commit()

        assert await listed(store) == [FIRST]

    async def test_vectors_are_stored_in_the_order_of_positions(self, store: Store) -> None:
        await given_a_shelf(store)
        chunks = [a_chunk(position) for position in (12, 2, 100, 1)]

        await given_ready(store, a_document(), chunks=chunks)

        stored = await store.knowledge_views.chunks(SPACE)
        assert [one.chunk.position for one in stored] == [1, 2, 12, 100]
        assert [one.vector for one in stored] == [a_vector(n) for n in range(4)]
