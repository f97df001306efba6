"""What every adapter of `Documents` and `KnowledgeViews` keeps of what is in a document."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from llm_backend.domain.errors import DocumentNotFound
from llm_backend.domain.ids import DocumentId
from llm_backend.domain.knowledge import Block, DocumentState, Excerpt
from llm_backend.testing.builders import a_chunk, a_document
from llm_backend.testing.contracts.knowledge_views import FIRST, SHELF, SPACE, bury, given_a_shelf
from llm_backend.testing.contracts.store import ALICE, BOB, ODD_TEXTS, Store, a_vector, given_pending, given_ready

TEXT = "\n\n".join(ODD_TEXTS)


def blocks_of(text: str) -> list[Block]:
    """Its paragraphs, each in another place."""
    blocks, start = list[Block](), 0
    for number, paragraph in enumerate(text.split("\n\n"), start=1):
        end = start + len(paragraph)
        blocks.append(Block(start=start, end=end, headings=("第一章", paragraph), page=number, sheet=f"表 {paragraph}"))
        start = end + 2
    return blocks


class DocumentContentsContract:
    """Texts, blocks and chunks come back as they were stored, in parts or whole, to their owners alone. Vectors may be
    stored in parts, too. Needs the fixture `store`."""

    async def test_a_text_comes_back_with_its_blocks(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document(), text=TEXT, blocks=blocks_of(TEXT))

        whole = await store.knowledge_views.excerpt(ALICE, FIRST, 0, 10**6)

        ready = replace(a_document(), state=DocumentState.READY)
        assert whole == Excerpt(document=ready, length=len(TEXT), start=0, text=TEXT, blocks=blocks_of(TEXT))

    async def test_a_part_of_a_text_comes_with_the_blocks_that_reach_into_it(self, store: Store) -> None:
        await given_a_shelf(store)
        blocks = blocks_of(TEXT)
        await given_ready(store, a_document(), text=TEXT, blocks=blocks)
        start, end = blocks[1].end - 1, blocks[3].start + 1

        part = await store.knowledge_views.excerpt(ALICE, FIRST, start, end)
        between = await store.knowledge_views.excerpt(ALICE, FIRST, blocks[0].end, blocks[1].start)
        behind = await store.knowledge_views.excerpt(ALICE, FIRST, 10**5, 10**6)

        assert (part.text, part.start, part.end) == (TEXT[start:end], start, end)
        assert part.blocks == blocks[1:4]
        assert (between.text, between.blocks) == ("\n\n", [])
        assert (behind.text, behind.blocks, behind.length) == ("", [], len(TEXT))

    async def test_thousands_of_blocks_come_back_in_order(self, store: Store) -> None:
        await given_a_shelf(store)
        text = "\n\n".join(map(str, range(2500)))
        blocks = [replace(block, headings=(), sheet=None) for block in blocks_of(text)]
        await given_ready(store, a_document(), text=text, blocks=blocks)

        excerpt = await store.knowledge_views.excerpt(ALICE, FIRST, 0, len(text))

        assert excerpt.blocks == blocks

    async def test_chunks_come_back_in_order_page_by_page(self, store: Store) -> None:
        await given_a_shelf(store)
        chunks = [replace(a_chunk(position, text), sheet=text) for position, text in enumerate(ODD_TEXTS)]
        await given_ready(store, a_document(), chunks=chunks[::-1])
        await given_ready(store, a_document("other"), chunks=[a_chunk(3)])
        views = store.knowledge_views

        assert await views.document_chunks(ALICE, FIRST, limit=100) == chunks
        assert await views.document_chunks(ALICE, FIRST, after=1, limit=2) == chunks[2:4]
        assert await views.document_chunks(ALICE, FIRST, after=len(chunks), limit=2) == []

    @pytest.mark.parametrize("document", ["pending", "deleted", "unknown", "theirs", "x' OR '1'='1"])
    async def test_what_is_not_ready_or_not_theirs_has_no_contents(self, store: Store, document: str) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document("pending"))
        await given_ready(store, a_document("deleted"))
        await bury(store, DocumentId("deleted"))
        await given_ready(store, a_document("theirs", knowledge_base="shelf-2", owner=BOB))

        with pytest.raises(DocumentNotFound):
            await store.knowledge_views.excerpt(ALICE, DocumentId(document), 0, 10)
        with pytest.raises(DocumentNotFound):
            await store.knowledge_views.document_chunks(ALICE, DocumentId(document), limit=10)

    async def test_vectors_may_come_in_parts(self, store: Store) -> None:
        await given_three_chunks(store)
        for vectors in ([a_vector(7)] * 3, [a_vector(8)] * 3):  # of tries that were cut off
            assert await stored_vectors(store, vectors)

        assert await stored_vectors(store, [a_vector(3)], first=2)
        assert await stored_vectors(store, [a_vector(1), a_vector(2)])

        every = [a_vector(1), a_vector(2), a_vector(3)]
        async with store.transactions() as work:
            assert await work.documents.vectors(FIRST, 1, SPACE, first=0, limit=2) == every[:2]
            assert await work.documents.vectors(FIRST, 1, SPACE, first=1, limit=9) == every[1:]
            assert not await work.documents.vectors(FIRST, 1, SPACE, first=3, limit=9)
            assert not await work.documents.vectors(FIRST, 1, replace(SPACE, dimensions=7), first=0, limit=9)
            assert await work.documents.mark_ready(FIRST, 1)
            await work.commit()
        assert [one.vector for one in await store.knowledge_views.chunks(SPACE)] == every
        assert await store.knowledge_views.statistics(SHELF, SPACE) == [b"terms"]

    async def test_vectors_of_what_is_gone_or_tried_again_are_nowhere(self, store: Store) -> None:
        await given_three_chunks(store)
        assert await stored_vectors(store, [a_vector(1)])
        async with store.transactions() as work:
            assert not await work.documents.vectors(FIRST, 2, SPACE, first=0, limit=9)
            await work.documents.bury(ALICE, SHELF, FIRST)
            await work.commit()

        async with store.transactions() as work:
            assert not await work.documents.vectors(FIRST, 1, SPACE, first=0, limit=9)
        assert not await stored_vectors(store, [a_vector(2)], first=1)

    async def test_of_what_is_readable_vectors_do_not_count_before_all_are_there(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document())

        async with store.transactions() as work:
            attempt = await work.documents.mark_readable(FIRST, 1, SPACE)
            assert attempt == 2
            assert await work.documents.store_vectors(FIRST, attempt, SPACE, [a_vector(1)])
            await work.commit()

        assert [one.vector for one in await store.knowledge_views.chunks(SPACE)] == [None]


async def given_three_chunks(store: Store) -> None:
    """Of a document that is still being read in."""
    await given_a_shelf(store)
    await given_pending(store, a_document())
    async with store.transactions() as work:
        pieces = [a_chunk(position, "fox") for position in range(3)]
        assert await work.documents.store_contents(FIRST, 1, "txt", "fox fox fox", pieces)
        await work.commit()


async def stored_vectors(store: Store, vectors: Sequence[bytes], first: int = 0) -> bool:
    async with store.transactions() as work:
        stored = await work.documents.store_vectors(FIRST, 1, SPACE, vectors, b"terms", first=first)
        await work.commit()
    return stored
