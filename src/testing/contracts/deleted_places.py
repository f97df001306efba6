"""How lists go on behind what was deleted, in every adapter of the views."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from llm_backend.application.ports.file_views import Slice
from llm_backend.domain.errors import CursorNotFound
from llm_backend.domain.ids import ConversationId, DocumentId, FileBatchId, FileId, KnowledgeBaseId, UserId
from llm_backend.testing.builders import NOON, a_conversation, a_document, a_file, a_knowledge_base, a_user
from llm_backend.testing.contracts.files import HOUR, SHELF, a_batch, given_attached, given_files, given_users
from llm_backend.testing.contracts.store import ALICE, BOB, Store, given, given_pending

DAY = timedelta(days=1)
GONE: list[tuple[Slice[Any], str]] = [  # of "abcde", of which b and d have been deleted
    (Slice(limit=1, after="d"), "c"),
    (Slice(limit=9, after="b"), "a"),
    (Slice(limit=9, newest_first=False, after="b"), "ce"),
    (Slice(limit=1, before="b"), "c"),
    (Slice(limit=9, newest_first=False, before="d"), "ac"),
    (Slice(limit=9, after="d", before="b"), "c"),
    (Slice(limit=9, after="e", before="d"), ""),
]
NEVER: list[tuple[Slice[Any], str]] = [  # x is Bob's, y was
    (Slice(limit=9, after="nobody"), "after"),
    (Slice(limit=9, before="nobody"), "before"),
    (Slice(limit=9, after="e", before=""), "before"),
    (Slice(limit=9, newest_first=False, after="x"), "after"),
    (Slice(limit=9, before="y"), "before"),
]


async def in_pages(
    page: Callable[[str | None], Awaitable[Sequence[str]]], drop: Callable[[str], Awaitable[None]]
) -> str:
    """What a loop finds that deletes what it has found, a page at a time, before it asks for the next one."""
    found, last = "", None
    while names := await page(last):
        for name in names:
            await drop(name)
        found, last = found + "".join(names), names[-1]
    return found


async def drop_store(store: Store, name: str, owner: UserId = ALICE) -> None:
    async with store.transactions() as work:
        await work.knowledge_bases.remove(owner, KnowledgeBaseId(name))
        await work.commit()


async def drop_conversation(store: Store, name: int, owner: UserId = ALICE) -> None:
    async with store.transactions() as work:
        await work.conversations.remove(owner, ConversationId(name))
        await work.commit()


async def drop_document(store: Store, name: str, owner: UserId = ALICE, shelf: KnowledgeBaseId = SHELF) -> None:
    """For good, as the sweeper does after whoever deletes it."""
    async with store.transactions() as work:
        await work.documents.bury(owner, shelf, DocumentId(name))
        await work.commit()
    async with store.transactions() as work:
        await work.documents.forget(DocumentId(name))
        await work.commit()


async def drop_file(store: Store, name: str) -> None:
    """And what it has become, last, as that is no longer attached to it then."""
    async with store.transactions() as work:
        became = await work.files.attached(ALICE, FileId(name))
        await work.files.remove(ALICE, FileId(name))
        for document in became:
            await work.documents.bury(ALICE, document.knowledge_base, document.id)
        await work.commit()


async def given_attached_files(store: Store, names: str) -> None:
    """In a batch each."""
    await given_files(store, *(a_file(name, created_at=NOON + HOUR * number) for number, name in enumerate(names)))
    for name in names:
        await given_attached(store, a_document(f"document-{name}"), FileId(name), batch=a_batch(f"batch-{name}"))


class DeletedPlacesContract:
    """Whoever pages by something that is deleted meanwhile gets on; whoever does by what never was hears of it. Needs
    the fixture `store`."""

    async def test_conversations_are_found_by_a_loop_that_deletes_them(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in (3, 1, 5, 2, 4)))

        async def page(last: str | None) -> list[str]:
            before = ConversationId(int(last)) if last else None
            return [str(one.id) for one in await store.conversation_views.summaries(ALICE, limit=2, before=before)]

        assert await in_pages(page, lambda name: drop_conversation(store, int(name))) == "42513"

    async def test_what_was_made_later_is_not_before_a_deleted_conversation(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in (1, 2)))
        await drop_conversation(store, 2)
        await given(store, a_conversation(3))

        found = await store.conversation_views.summaries(ALICE, before=ConversationId(2))

        assert [one.id for one in found] == [1]

    @pytest.mark.parametrize("before", [9, 3, 4])
    async def test_a_conversation_that_was_never_in_the_list_is_an_error(self, store: Store, before: int) -> None:
        await given(store, a_user(1), a_user(2), a_conversation(1))
        await given(store, a_conversation(3, owner=2), a_conversation(4, owner=2))
        await drop_conversation(store, 4, BOB)

        with pytest.raises(CursorNotFound) as caught:
            await store.conversation_views.summaries(ALICE, before=ConversationId(before))

        assert caught.value.param == "before"

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_stores_are_found_by_a_loop_that_deletes_them(self, store: Store, newest_first: bool) -> None:
        await given(store, a_user(1), *(a_knowledge_base(name) for name in "abcde"))

        async def page(last: str | None) -> list[str]:
            after = KnowledgeBaseId(last) if last else None
            part = Slice(limit=2, newest_first=newest_first, after=after)
            return [one.base.id for one in await store.file_views.vector_stores(ALICE, part)]

        found = await in_pages(page, lambda name: drop_store(store, name))

        assert found == ("edcba" if newest_first else "abcde")

    @pytest.mark.parametrize(("part", "expected"), GONE)
    async def test_a_part_of_the_stores_is_told_by_deleted_ones(
        self, store: Store, part: Slice[KnowledgeBaseId], expected: str
    ) -> None:
        await given(store, a_user(1), *(a_knowledge_base(name) for name in "abcde"))
        for name in "bd":
            await drop_store(store, name)

        assert "".join(one.base.id for one in await store.file_views.vector_stores(ALICE, part)) == expected

    @pytest.mark.parametrize(("part", "param"), NEVER)
    async def test_a_store_that_was_never_in_the_list_is_an_error(
        self, store: Store, part: Slice[KnowledgeBaseId], param: str
    ) -> None:
        await given(store, a_user(1), a_user(2), *(a_knowledge_base(name) for name in "abcde"))
        await given(store, *(a_knowledge_base(name, owner=2) for name in "xy"))
        await drop_store(store, "y", BOB)

        with pytest.raises(CursorNotFound) as caught:
            await store.file_views.vector_stores(ALICE, part)

        assert caught.value.param == param

    @pytest.mark.parametrize(("part", "expected"), GONE)
    async def test_a_part_of_a_store_is_told_by_files_that_are_gone(
        self, store: Store, part: Slice[FileId], expected: str
    ) -> None:
        await given_users(store)
        await given_files(store, a_file("b"), a_file("c"))
        for name in "abcde":
            if name in "bc":
                await given_attached(store, a_document(f"document-{name}"), FileId(name))
            else:
                await given_pending(store, a_document(name))
        await drop_document(store, "document-b")
        await drop_document(store, "d")

        assert "".join(one.file for one in await store.file_views.store_files(ALICE, SHELF, part)) == expected

    @pytest.mark.parametrize(("part", "param"), NEVER)
    async def test_a_file_that_was_never_in_the_store_is_an_error(
        self, store: Store, part: Slice[FileId], param: str
    ) -> None:
        await given_users(store)
        await given_files(store, a_file("y"))
        await given(store, a_knowledge_base("shelf-3"))
        for name in "abcde":
            await given_pending(store, a_document(name))
        await given_pending(store, a_document("x", owner=2, knowledge_base="shelf-2"))
        await given_attached(store, a_document("document-y", knowledge_base="shelf-3"), FileId("y"))
        await drop_document(store, "x", BOB, KnowledgeBaseId("shelf-2"))
        await drop_document(store, "document-y", ALICE, KnowledgeBaseId("shelf-3"))

        with pytest.raises(CursorNotFound) as caught:
            await store.file_views.store_files(ALICE, SHELF, part)

        assert caught.value.param == param

    async def test_files_of_a_store_are_found_by_a_loop_that_detaches_them(self, store: Store) -> None:
        await given_users(store)
        await given_attached_files(store, "abcde")

        async def page(last: str | None) -> list[str]:
            part = Slice(limit=2, after=FileId(last) if last else None)
            return [one.file for one in await store.file_views.store_files(ALICE, SHELF, part)]

        assert await in_pages(page, lambda name: drop_document(store, f"document-{name}")) == "edcba"

    async def test_files_of_a_store_are_found_by_a_loop_that_deletes_them_everywhere(self, store: Store) -> None:
        await given_users(store)
        await given_attached_files(store, "abcde")

        async def page(last: str | None) -> list[str]:
            part = Slice(limit=2, newest_first=False, after=FileId(last) if last else None)
            return [one.file for one in await store.file_views.store_files(ALICE, SHELF, part)]

        assert await in_pages(page, lambda name: drop_file(store, name)) == "abcde"

    async def test_files_of_a_batch_are_found_by_a_loop_that_detaches_them(self, store: Store) -> None:
        await given_users(store)
        for name in "abcde":
            await given_pending(store, a_document(name))
        async with store.transactions() as work:
            await work.vector_stores.add_batch(a_batch(), [DocumentId(name) for name in "abde"])
            await work.commit()

        async def page(last: str | None) -> list[str]:
            part, batch = Slice(limit=2, after=FileId(last) if last else None), FileBatchId("batch-1")
            return [one.file for one in await store.file_views.store_files(ALICE, SHELF, part, batch=batch)]

        assert await in_pages(page, lambda name: drop_document(store, name)) == "edba"

    async def test_a_file_that_was_attached_again_has_its_newest_place(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("b"))
        await given_attached(store, a_document("first"), FileId("b"))
        await given_pending(store, a_document("c"))
        await drop_document(store, "first")
        await given_attached(store, a_document("second"), FileId("b"))
        await given_pending(store, a_document("d"))
        part = Slice(limit=9, after=FileId("b"))

        while_there = await store.file_views.store_files(ALICE, SHELF, part)
        await drop_document(store, "second")
        when_gone = await store.file_views.store_files(ALICE, SHELF, part)

        assert [one.file for one in while_there] == [one.file for one in when_gone] == ["c"]

    @pytest.mark.parametrize("newest_first", [True, False])
    async def test_files_are_found_by_a_loop_that_deletes_them(self, store: Store, newest_first: bool) -> None:
        await given_users(store)
        await given_attached_files(store, "abcd")
        await given_pending(store, a_document("e", created_at=NOON + HOUR))  # comes to stand after b, made as early

        async def page(last: str | None) -> list[str]:
            found = await store.file_views.files(
                ALICE, now=NOON, limit=2, newest_first=newest_first, after=FileId(last) if last else None
            )
            return [file.id for file in found]

        async def drop(name: str) -> None:
            await (drop_document(store, name) if name == "e" else drop_file(store, name))

        assert await in_pages(page, drop) == ("dceba" if newest_first else "abecd")

    async def test_files_go_on_behind_documents_that_went_in_other_ways(self, store: Store) -> None:
        await given_users(store)
        await given_files(store, a_file("a", created_at=NOON - HOUR))
        await given(store, a_knowledge_base("shelf-3"))
        await given_pending(store, a_document("failed"))
        await given_pending(store, a_document("old", name="same.txt"))
        await given_pending(store, a_document("new", name="same.txt", created_at=NOON + HOUR))
        await given_pending(store, a_document("inside", knowledge_base="shelf-3"))
        async with store.transactions() as work:
            await work.documents.mark_failed(DocumentId("failed"), "document_unreadable")
            await work.documents.bury_failed(before=NOON + HOUR)
            assert await work.documents.bury_replaced(DocumentId("new")) == ["old"]
            await work.knowledge_bases.remove(ALICE, KnowledgeBaseId("shelf-3"))
            for name in ("failed", "old", "inside"):
                await work.documents.forget(DocumentId(name))
            await work.commit()

        for name in ("failed", "old", "inside"):
            files = await store.file_views.files(ALICE, now=NOON, limit=9, after=FileId(name))
            assert [file.id for file in files] == ["a"]
        for name in ("failed", "old"):
            part = Slice(limit=9, newest_first=False, after=FileId(name))
            assert [one.file for one in await store.file_views.store_files(ALICE, SHELF, part)] == ["new"]

    @pytest.mark.parametrize("after", ["nobody", "", "x", "y"])
    async def test_a_file_that_was_never_in_the_list_is_an_error(self, store: Store, after: str) -> None:
        await given_users(store)
        await given_files(store, a_file("a"), a_file("x", owner=2), a_file("y", owner=2))
        async with store.transactions() as work:
            await work.files.remove(BOB, FileId("y"))
            await work.commit()

        with pytest.raises(CursorNotFound) as caught:
            await store.file_views.files(ALICE, now=NOON, limit=9, after=FileId(after))

        assert caught.value.param == "after"

    async def test_a_place_is_forgotten_long_after_it_was_come_across(self, store: Store) -> None:
        await given(store, a_user(1), *(a_knowledge_base(name) for name in "abc"))
        await drop_store(store, "b")
        parts = [Slice(limit=9, after=KnowledgeBaseId(name)) for name in "bc"]
        forgotten = []
        for now in (NOON, NOON + DAY - HOUR):
            async with store.transactions() as work:
                forgotten.append(await work.deleted_places.forget(now=now, kept_for=DAY))
                await work.commit()
            assert [one.base.id for one in await store.file_views.vector_stores(ALICE, parts[0])] == ["a"]
        await drop_store(store, "c")

        async with store.transactions() as work:
            forgotten.append(await work.deleted_places.forget(now=NOON + DAY, kept_for=DAY))
            await work.commit()

        assert forgotten == [0, 0, 1]
        assert [one.base.id for one in await store.file_views.vector_stores(ALICE, parts[1])] == ["a"]
        with pytest.raises(CursorNotFound):
            await store.file_views.vector_stores(ALICE, parts[0])

    async def test_what_is_not_deleted_after_all_stays_where_it_is(self, store: Store) -> None:
        await given(store, a_user(1), *(a_knowledge_base(name) for name in "ab"))
        async with store.transactions() as work:
            await work.knowledge_bases.remove(ALICE, KnowledgeBaseId("b"))

        async with store.transactions() as work:
            assert await work.deleted_places.forget(now=NOON, kept_for=DAY) == 0
            assert await work.deleted_places.forget(now=NOON + DAY, kept_for=DAY) == 0
