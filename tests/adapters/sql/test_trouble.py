"""A full disk, a locked or broken database: clean errors, nothing half done, and service again afterwards."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llm_backend.application.ports.answer_journal import Part
from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import Conversation
from llm_backend.domain.errors import DatabaseUnavailable, StorageFull
from llm_backend.domain.ids import AnswerId, ConversationId
from llm_backend.domain.secrets import SealedSecret
from llm_backend.infrastructure.sql import SqlStore, migrate_sqlite
from llm_backend.infrastructure.sql.migrating import UnreadableDatabase
from llm_backend.testing.contracts.store import ALICE, given
from tests.builders import a_conversation, a_message, a_turn, a_user

TEN = ConversationId(10)
MEGABYTE = "x" * 2**20


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


async def test_a_full_disk_is_said_to_be_full_and_takes_what_still_fits(path: Path) -> None:
    async with SqlStore.open(path, pragmas={"max_page_count": 100}) as store:
        await given(store, a_user(1), a_conversation(10))

        with pytest.raises(StorageFull):
            await store.journal.begin(a_turn(100, text=MEGABYTE))
        with pytest.raises(StorageFull):
            await given(store, a_conversation(11, title="x" * 255), *_big_conversations(200))

        assert not (await store.conversation_views.thread(ALICE, TEN)).messages
        assert len(await store.conversation_views.summaries(ALICE)) == 1
        await store.journal.begin(a_turn(100, text="small"))
        await store.journal.checkpoint([Part(AnswerId(100), 1, [Delta("small")])])


def _big_conversations(number: int) -> list[Conversation]:
    key = SealedSecret(key_id="key", sealed=bytes(4096))
    return [a_conversation(id_, api_key=key) for id_ in range(1000, 1000 + number)]


async def test_a_batch_that_does_not_fit_fails_as_a_whole_and_cleanly(path: Path) -> None:
    async with SqlStore.open(path, pragmas={"max_page_count": 100}) as store:
        await given(store, a_user(1), *(a_conversation(id_) for id_ in range(10, 15)))
        turns = [a_turn(100 + n, conversation=10 + n, text=MEGABYTE if n == 2 else "small") for n in range(5)]

        outcomes = await asyncio.gather(*(store.journal.begin(turn) for turn in turns), return_exceptions=True)

        begun = {found.answer.id for found in await store.leases.open_answers()}
        assert isinstance(outcomes[2], StorageFull)
        assert begun == {outcome for outcome in outcomes if isinstance(outcome, int)}


async def test_a_lock_that_somebody_else_holds_is_waited_for_and_then_reported(path: Path) -> None:
    async with SqlStore.open(path, patience=0.1) as store:
        await given(store, a_user(1), a_conversation(10))

        with locked(path):
            with pytest.raises(DatabaseUnavailable):
                await store.journal.begin(a_turn(100))
            with pytest.raises(DatabaseUnavailable):
                await given(store, a_conversation(11))
            in_the_meantime = await store.conversation_views.summaries(ALICE)

        await store.journal.begin(a_turn(100))
        assert [summary.id for summary in in_the_meantime] == [10]
        assert list((await store.conversation_views.thread(ALICE, TEN)).messages) == [a_message(1)]


async def test_a_unit_of_work_that_does_not_end_holds_up_the_journal_only_for_a_while(path: Path) -> None:
    async with SqlStore.open(path, turn_patience=0.1) as store:
        await given(store, a_user(1), a_conversation(10))

        async with store.transactions() as work:
            await work.conversations.get(ALICE, TEN)
            with pytest.raises(DatabaseUnavailable):
                await store.journal.begin(a_turn(100))

        await store.journal.begin(a_turn(100))


async def test_cancelling_in_the_middle_of_a_statement_breaks_nothing(store: SqlStore) -> None:
    await given(store, a_user(1))

    for id_ in range(10, 40):
        task = asyncio.create_task(given(store, a_conversation(id_)))
        for _ in range(id_ % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    await given(store, a_conversation(100))
    assert (await store.conversation_views.summaries(ALICE))[0].id == 100


async def test_a_caller_that_goes_away_does_not_undo_what_it_asked_for(store: SqlStore) -> None:
    await given(store, a_user(1), a_conversation(10))

    task = asyncio.create_task(store.journal.begin(a_turn(100)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await store.journal.checkpoint([Part(AnswerId(100), 1, [Delta("after it")])])

    assert list(await store.journal.events(AnswerId(100))) == [(1, Delta("after it"))]


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 100)

    with pytest.raises(UnreadableDatabase):
        asyncio.run(migrate_sqlite(path))


async def test_a_closed_store_is_unavailable(path: Path) -> None:
    async with SqlStore.open(path) as store:
        await store.check()

    with pytest.raises(DatabaseUnavailable):
        await store.check()
    with pytest.raises(DatabaseUnavailable):
        await store.journal.begin(a_turn(100))
