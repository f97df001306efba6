"""What every adapter of `Reindexings`, and of `Documents` and `KnowledgeViews` during a move, keeps."""

from datetime import datetime, timedelta

import pytest

from llm_backend.domain.errors import (
    EmbeddingModelInUse,
    KnowledgeBaseNotFound,
    ReindexingInProgress,
    ReindexingNotFound,
)
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, ReindexingId, UserId
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.domain.reindexing import Reindexing, ReindexingState
from llm_backend.testing.builders import NOON, a_chunk, a_document, a_reindexing
from llm_backend.testing.contracts.ingestion import attempt_found, begin_attempt, given_readable, mark_readable
from llm_backend.testing.contracts.knowledge_views import FIRST, SHELF, SPACE, bury, given_a_shelf
from llm_backend.testing.contracts.store import ALICE, BOB, Store, a_vector, given_pending, given_ready

TARGET = a_reindexing().target
MOVE = ReindexingId("move-1")
LATER = NOON + timedelta(hours=1)
LONG_AGO = NOON - timedelta(days=365)


async def start(store: Store, reindexing: Reindexing | None = None, *, owner: UserId = ALICE) -> None:
    async with store.transactions() as work:
        await work.reindexings.start(owner, reindexing or a_reindexing())
        await work.commit()


async def embed(store: Store, document: DocumentId = FIRST, *, attempt: int = 1, count: int = 1) -> bool:
    """Into the target, with statistics."""
    vectors = [a_vector(100 + number) for number in range(count)]
    async with store.transactions() as work:
        await work.documents.begin_embedding([document], TARGET)
        await work.documents.store_vectors(document, attempt, TARGET, vectors, b"of the target")
        embedded = await work.documents.mark_embedded(document, attempt, TARGET)
        await work.commit()
    return embedded


async def finish(store: Store, reindexing: ReindexingId = MOVE, *, at: datetime = LATER) -> bool:
    async with store.transactions() as work:
        done = await work.reindexings.finish(reindexing, at=at)
        await work.commit()
    return done


async def moved(store: Store) -> None:
    """A shelf with one document, moved to the target."""
    await given_a_shelf(store)
    await given_ready(store, a_document(), statistics=b"of the source")
    await start(store)
    await embed(store)
    assert await finish(store)


async def space_of(store: Store) -> EmbeddingSpace:
    return (await store.knowledge_views.knowledge_base(ALICE, SHELF)).space


async def lacking(store: Store) -> list[tuple[DocumentId, int]]:
    async with store.transactions() as work:
        return list(await work.documents.lacking(SHELF, TARGET, limit=10))


async def withdraw(store: Store, kept_since: datetime) -> set[tuple[DocumentId, EmbeddingSpace]]:
    async with store.transactions() as work:
        withdrawn = await work.reindexings.withdraw_unwanted(SHELF, kept_since=kept_since)
        await work.commit()
    return set(withdrawn)


async def unsettled(store: Store, kept_since: datetime) -> list[KnowledgeBaseId]:
    async with store.transactions() as work:
        return list(await work.reindexings.unsettled(kept_since=kept_since))


async def previous(store: Store, kept_since: datetime, owner: UserId = ALICE) -> EmbeddingSpace | None:
    async with store.transactions() as work:
        return await work.reindexings.previous(owner, SHELF, kept_since=kept_since)


async def documents_in(store: Store, space: EmbeddingSpace) -> list[DocumentId]:
    return [stored.document for stored in await store.knowledge_views.chunks(space)]


class ReindexingsContract:
    """A knowledge base moves when nothing is missing in the target, and what is wanted is kept. Needs the fixture
    `store`."""

    async def test_a_move_comes_back_whole(self, store: Store) -> None:
        await given_a_shelf(store)
        await start(store)

        async with store.transactions() as work:
            assert await work.reindexings.running(SHELF) == a_reindexing()
            assert await work.reindexings.running(KnowledgeBaseId("shelf-2")) is None
            assert await work.reindexings.fail(MOVE, "embedding_failed", at=LATER)
            assert not await work.reindexings.fail(MOVE, "unavailable", at=LATER)
            await work.commit()

        found = (await store.knowledge_views.reindexing(ALICE, SHELF)).reindexing
        assert found == a_reindexing(state=ReindexingState.FAILED, reason="embedding_failed", ended_at=LATER)

    async def test_only_one_move_is_running(self, store: Store) -> None:
        await given_a_shelf(store)
        await start(store)

        with pytest.raises(ReindexingInProgress):
            await start(store, a_reindexing("move-2"))

    async def test_a_move_begins_where_the_knowledge_base_is(self, store: Store) -> None:
        await given_a_shelf(store)

        with pytest.raises(EmbeddingModelInUse):
            await start(store, a_reindexing(source=TARGET, target=SPACE))

    async def test_moves_of_somebody_elses_knowledge_base_look_absent(self, store: Store) -> None:
        await moved(store)

        for owner, shelf in [(BOB, SHELF), (ALICE, KnowledgeBaseId("x' OR '1'='1")), (ALICE, KnowledgeBaseId("%"))]:
            with pytest.raises(KnowledgeBaseNotFound):
                await store.knowledge_views.reindexing(owner, shelf)
            with pytest.raises(KnowledgeBaseNotFound):
                await start(store, a_reindexing("move-2", knowledge_base=shelf), owner=owner)
        assert await previous(store, LONG_AGO, BOB) is None
        with pytest.raises(ReindexingNotFound):
            await store.knowledge_views.reindexing(BOB, KnowledgeBaseId("shelf-2"))

    async def test_a_move_is_cancelled_by_its_owner_alone(self, store: Store) -> None:
        await given_a_shelf(store)
        await start(store)

        async with store.transactions() as work:
            by_bob = await work.reindexings.cancel(BOB, SHELF, at=LATER)
            by_alice = await work.reindexings.cancel(ALICE, SHELF, at=LATER)
            again = await work.reindexings.cancel(ALICE, SHELF, at=LATER)
            await work.commit()

        assert (by_bob, by_alice, again) == (False, True, False)
        assert not await finish(store)
        assert await space_of(store) == SPACE
        await start(store, a_reindexing("move-2"))

    async def test_an_empty_knowledge_base_moves_at_once(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document())
        await start(store)

        assert await finish(store)

        assert await space_of(store) == TARGET
        assert not await finish(store)
        assert not await finish(store, ReindexingId("unknown"))

    async def test_it_does_not_move_before_every_ready_document_is_in_the_target(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("a", attempt=3))
        await given_ready(store, a_document("b"))
        await given_pending(store, a_document("pending"))
        await given_ready(store, a_document("of bob", knowledge_base="shelf-2", owner=2))
        await start(store)

        assert await lacking(store) == [("a", 3), ("b", 1)]
        assert await embed(store, DocumentId("b"))
        assert await lacking(store) == [("a", 3)]
        assert not await finish(store)
        assert await space_of(store) == SPACE
        assert await embed(store, DocumentId("a"), attempt=3)

        assert await finish(store)

        assert await space_of(store) == TARGET

    async def test_each_space_has_its_own_vectors_and_statistics(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document(), chunks=[a_chunk(0), a_chunk(1)], statistics=b"of the source")
        await start(store)
        await embed(store, count=2)

        views = store.knowledge_views
        assert [one.vector for one in await views.chunks(SPACE)] == [a_vector(0), a_vector(1)]
        assert [one.vector for one in await views.chunks(TARGET)] == [a_vector(100), a_vector(101)]
        assert [one.vector for one in await views.chunks_of(FIRST)] == [None, None]
        assert await views.statistics(SHELF, SPACE) == [b"of the source"]
        assert await views.statistics(SHELF, TARGET) == [b"of the target"]
        assert await views.chunk_counts(TARGET) == {(FIRST, 1): 2}
        assert {SPACE, TARGET} == set(await views.spaces())
        async with store.transactions() as work:
            assert dict(await work.documents.spaces_of([FIRST])) == {SPACE: [FIRST], TARGET: [FIRST]}

    async def test_what_is_only_begun_is_not_in_the_target(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())
        await start(store)
        async with store.transactions() as work:
            assert not await work.documents.begin_embedding([FIRST, DocumentId("unknown")], TARGET)
            assert await work.documents.begin_embedding([FIRST, DocumentId("unknown")], TARGET) == {FIRST}
            await work.documents.store_vectors(FIRST, 1, TARGET, [a_vector(5)])
            await work.commit()

        assert not await documents_in(store, TARGET)
        assert await lacking(store) == [(FIRST, 1)]
        assert TARGET not in await store.knowledge_views.spaces()
        async with store.transactions() as work:
            assert TARGET in await work.documents.spaces_of([FIRST])

    async def test_a_document_deleted_in_the_meantime_is_not_embedded(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())
        await start(store)
        await bury(store, FIRST)

        assert not await embed(store)

        assert not await documents_in(store, TARGET)
        assert not list(await store.knowledge_views.chunks_of(FIRST))
        assert await finish(store)

    async def test_the_status_counts_chunks(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document("one"), chunks=[a_chunk(0), a_chunk(1), a_chunk(2)])
        await given_ready(store, a_document("two"))
        await given_pending(store, a_document("pending"))
        await start(store)
        await embed(store, DocumentId("two"))

        status = await store.knowledge_views.reindexing(ALICE, SHELF)

        assert (status.chunks, status.embedded, status.percent) == (4, 1, 25)

    async def test_a_document_that_was_embedded_for_the_old_space_does_not_become_ready(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_pending(store, a_document(attempt=0))
        async with store.transactions() as work:
            assert await work.documents.begin_attempt(FIRST) == 1
            await work.commit()
        await start(store)
        assert await finish(store)

        async with store.transactions() as work:
            await work.documents.store_vectors(FIRST, 1, SPACE, [a_vector(1)])
            assert not await work.documents.mark_ready(FIRST, 1)
            await work.commit()
        async with store.transactions() as work:
            assert await work.documents.begin_attempt(FIRST) == 2
            await work.documents.store_vectors(FIRST, 2, TARGET, [a_vector(2)])
            assert await work.documents.mark_ready(FIRST, 2)
            await work.commit()

        assert [one.vector for one in await store.knowledge_views.chunks(TARGET)] == [a_vector(2)]
        assert not await documents_in(store, SPACE)

    async def test_the_old_vectors_are_wanted_for_a_while(self, store: Store) -> None:
        await moved(store)

        assert await previous(store, LATER) == SPACE
        assert not await withdraw(store, LATER)
        assert not await unsettled(store, LATER)
        assert await documents_in(store, SPACE) == [FIRST]

        afterwards = LATER + timedelta(seconds=1)
        assert await previous(store, afterwards) is None
        assert await unsettled(store, afterwards) == [SHELF]
        assert await withdraw(store, afterwards) == {(FIRST, SPACE)}
        assert await documents_in(store, SPACE) == []
        assert await documents_in(store, TARGET) == [FIRST]

    async def test_what_was_withdrawn_is_dropped(self, store: Store) -> None:
        await moved(store)
        withdrawn = list(await withdraw(store, LATER + timedelta(days=1)))

        async with store.transactions() as work:
            await work.reindexings.drop([*withdrawn, (FIRST, TARGET), (DocumentId("unknown"), SPACE)])
            await work.commit()

        assert not await unsettled(store, LATER + timedelta(days=1))
        assert await documents_in(store, TARGET) == [FIRST]
        async with store.transactions() as work:
            assert dict(await work.documents.spaces_of([FIRST])) == {TARGET: [FIRST]}

    async def test_the_way_back_needs_only_what_has_come_since(self, store: Store) -> None:
        await moved(store)
        await given_ready(store, a_document("since"))
        back = a_reindexing("move-2", source=TARGET, target=SPACE)
        await start(store, back)

        async with store.transactions() as work:
            assert await work.documents.lacking(SHELF, SPACE, limit=10) == [("since", 1)]
        assert not await finish(store, back.id)
        await bury(store, DocumentId("since"))

        assert await finish(store, back.id)

        assert await space_of(store) == SPACE
        assert await previous(store, LONG_AGO) == TARGET
        assert await store.knowledge_views.statistics(SHELF, SPACE) == [b"of the source"]

    async def test_a_running_move_keeps_its_target_and_a_cancelled_one_does_not(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())
        await start(store)
        await embed(store)

        assert await unsettled(store, LONG_AGO) == [SHELF]
        assert not await withdraw(store, LATER)
        async with store.transactions() as work:
            await work.reindexings.cancel(ALICE, SHELF, at=LATER)
            await work.commit()

        assert await withdraw(store, LONG_AGO) == {(FIRST, TARGET)}

    async def test_a_failed_move_can_go_on_where_it_stopped(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_ready(store, a_document())
        await start(store)
        await embed(store)
        async with store.transactions() as work:
            await work.reindexings.fail(MOVE, "embedding_failed", at=LATER)
            await work.commit()

        assert not await withdraw(store, LATER)
        await start(store, a_reindexing("move-2"))

        assert await finish(store, ReindexingId("move-2"))

    async def test_tombstones_are_left_to_the_sweeper(self, store: Store) -> None:
        await moved(store)
        await bury(store, FIRST)

        assert not await withdraw(store, LATER + timedelta(days=1))
        async with store.transactions() as work:
            assert {SPACE, TARGET} == set(await work.documents.spaces_of([FIRST]))
            await work.documents.forget(FIRST)
            assert not await work.documents.spaces_of([FIRST])
            await work.commit()

    async def test_moves_that_ended_long_ago_are_forgotten(self, store: Store) -> None:
        await moved(store)
        await start(store, a_reindexing("move-2", source=TARGET, target=SPACE))

        async with store.transactions() as work:
            forgotten = await work.reindexings.forget_before(LATER + timedelta(days=1))
            await work.commit()

        assert forgotten == 1
        assert (await store.knowledge_views.reindexing(ALICE, SHELF)).reindexing.id == "move-2"

    async def test_moves_go_with_their_knowledge_base(self, store: Store) -> None:
        await moved(store)
        async with store.transactions() as work:
            await work.knowledge_bases.remove(ALICE, SHELF)
            await work.commit()

        async with store.transactions() as work:
            assert await work.reindexings.running(SHELF) is None
            assert {SPACE, TARGET} == set(await work.documents.spaces_of([FIRST]))
        assert not await unsettled(store, LONG_AGO)

    async def test_what_is_readable_is_so_until_its_knowledge_base_has_moved(self, store: Store) -> None:
        await given_a_shelf(store)
        await given_readable(store)
        await start(store)
        assert await documents_in(store, SPACE) == [FIRST]

        assert await finish(store)

        assert await attempt_found(store) is None
        assert await documents_in(store, SPACE) == await documents_in(store, TARGET) == []
        assert await begin_attempt(store) == 3
        assert await mark_readable(store, 3, space=TARGET) == 4
        assert await documents_in(store, SPACE) == []
        assert await documents_in(store, TARGET) == [FIRST]
