"""What PostgreSQL does that SQLite does not: it goes away, it cuts connections, it lets others write meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from llm_backend.application.ending import LAST_WORD
from llm_backend.application.ports.answer_journal import Part
from llm_backend.domain.answers import Delta, Done
from llm_backend.domain.errors import AnswerNotFound, DatabaseUnavailable, StorageFull
from llm_backend.domain.ids import AnswerId, ConversationId
from llm_backend.infrastructure.sql import PostgresServer, SqlStore
from llm_backend.infrastructure.sql.postgres import connect
from llm_backend.testing.contracts.store import ALICE, given
from tests.builders import a_conversation, a_reply, a_turn, a_user
from tests.databases import Databases, server
from tests.proxy import Proxy, port_of, through
from tests.servers import PostgresCluster

TEN = ConversationId(10)
HUNDRED = AnswerId(100)
HASTY = timedelta(milliseconds=300)
HELD_UP = timedelta(seconds=10)  # long enough for machines under load


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    """A PostgreSQL to be stopped and started at will."""
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture
async def stoppable(cluster: PostgresCluster) -> AsyncIterator[SqlStore]:
    async with SqlStore.open_server(server(cluster.url())) as store:
        yield store


def name(server: PostgresServer) -> str:
    return server.url.reveal().rpartition("/")[2]


async def cut_connections(databases: Databases, server: PostgresServer) -> None:
    await databases.execute(
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name(server)}'"
    )


@asynccontextmanager
async def nobody_reads(server: PostgresServer, table: str) -> AsyncIterator[None]:
    """Whoever reads that table meanwhile waits."""
    connection = await connect(server)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def raise_on(
    databases: Databases, server: PostgresServer, event: str, code: str, *, times: int = 1, when: str = "true"
) -> None:
    """Let PostgreSQL fail a statement, such as `INSERT ON answers`, so many times. A sequence counts the failures, for
    it is not undone with them."""
    await databases.execute(
        f"""
        CREATE SEQUENCE failures;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('failures') <= {times} THEN RAISE EXCEPTION 'as wanted' USING ERRCODE = '{code}'; END IF;
            RETURN coalesce(NEW, OLD);
        END $$;
        CREATE TRIGGER failing BEFORE {event} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION fail();
        """,
        name(server),
    )


# Away and back -------------------------------------------------------------------------------------------------------


async def test_while_the_server_is_away_everything_fails_cleanly_and_afterwards_nothing_does(
    cluster: PostgresCluster, stoppable: SqlStore
) -> None:
    await given(stoppable, a_user(1), a_conversation(10))
    await stoppable.journal.begin(a_turn(100))

    cluster.stop()
    for _ in range(3):
        for attempt in (
            stoppable.check(),
            stoppable.conversation_views.thread(ALICE, TEN),
            given(stoppable, a_conversation(11)),
            stoppable.journal.checkpoint([Part(HUNDRED, 1, [Delta("lost")])]),
            stoppable.journal.finish(HUNDRED, 1, [Done()], a_reply(2)),
        ):
            with pytest.raises(DatabaseUnavailable):
                await attempt
    cluster.start()

    await stoppable.check()
    await given(stoppable, a_conversation(11))
    assert await stoppable.journal.finish(HUNDRED, 1, [Delta("kept"), Done()], a_reply(2))
    thread = await stoppable.conversation_views.thread(ALICE, TEN)
    assert [message.number for message in thread.messages] == [1, 2]


async def test_connections_that_were_cut_while_nobody_used_them_are_replaced_unnoticed(
    databases: Databases, postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    await given(postgres_store, a_user(1), a_conversation(10))
    await postgres_store.journal.begin(a_turn(100))
    await postgres_store.check()

    await cut_connections(databases, postgres)

    await given(postgres_store, a_conversation(11))
    await postgres_store.journal.checkpoint([Part(HUNDRED, 1, [Delta("kept")])])
    assert len(await postgres_store.conversation_views.summaries(ALICE)) == 2
    assert await postgres_store.journal.finish(HUNDRED, 2, [Done()], a_reply(2))


async def test_a_unit_of_work_whose_connection_is_cut_leaves_nothing(
    databases: Databases, postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    await given(postgres_store, a_user(1))

    async with postgres_store.transactions() as work:
        await work.conversations.add(a_conversation(10))
        await cut_connections(databases, postgres)
        with pytest.raises(DatabaseUnavailable):
            await work.commit()

    assert not await postgres_store.conversation_views.summaries(ALICE)


async def test_a_server_that_is_not_there_at_the_start_is_said_to_be_unavailable(databases: Databases) -> None:
    for url in ("postgresql+asyncpg://127.0.0.1:1/nothing", databases.cluster.url("missing")):
        with pytest.raises(DatabaseUnavailable):
            async with SqlStore.open_server(server(url, patience=timedelta(seconds=5))):
                pass


async def test_a_closed_store_is_unavailable(postgres: PostgresServer) -> None:
    async with SqlStore.open_server(postgres) as store:
        await store.check()

    with pytest.raises(DatabaseUnavailable):
        await store.check()
    with pytest.raises(DatabaseUnavailable):
        await store.journal.begin(a_turn(100))


# In each other's way -------------------------------------------------------------------------------------------------


async def test_a_full_disk_harms_only_what_did_not_fit(
    databases: Databases, postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    await given(postgres_store, a_user(1), *map(a_conversation, range(10, 15)))
    await raise_on(databases, postgres, "INSERT ON answers", "53100", times=100, when="NEW.id = 102")

    turns = (a_turn(100 + n, conversation=10 + n) for n in range(5))
    outcomes = await asyncio.gather(*(postgres_store.journal.begin(turn) for turn in turns), return_exceptions=True)

    begun = {found.answer.id for found in await postgres_store.leases.open_answers()}
    assert isinstance(outcomes.pop(2), StorageFull)
    assert begun == set(outcomes)


@pytest.mark.parametrize("code", ["40001", "40P01"])
@pytest.mark.parametrize("beside", [0, 3])
async def test_a_turn_that_meets_another_transaction_is_tried_again(
    databases: Databases, postgres: PostgresServer, postgres_store: SqlStore, code: str, beside: int
) -> None:
    await given(postgres_store, a_user(1), *map(a_conversation, range(10, 11 + beside)))
    await raise_on(databases, postgres, "INSERT ON answers", code, times=2)

    turns = [a_turn(100 + n, conversation=10 + n) for n in range(1 + beside)]
    await asyncio.gather(*map(postgres_store.journal.begin, turns))

    assert len(await postgres_store.leases.open_answers()) == len(turns)


async def test_a_conflict_that_does_not_end_is_reported(
    databases: Databases, postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    await given(postgres_store, a_user(1), a_conversation(10))
    await raise_on(databases, postgres, "INSERT ON answers", "40001", times=100)

    with pytest.raises(DatabaseUnavailable):
        await postgres_store.journal.begin(a_turn(100))

    assert not (await postgres_store.conversation_views.thread(ALICE, TEN)).messages


async def test_checkpoints_that_fail_do_not_take_others_with_them(
    databases: Databases, postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    await given(postgres_store, a_user(1), *map(a_conversation, range(10, 15)))
    for n in range(5):
        await postgres_store.journal.begin(a_turn(100 + n, conversation=10 + n))
    await raise_on(databases, postgres, "INSERT ON answer_events", "53100", times=2)

    checkpoints = [postgres_store.journal.checkpoint([Part(AnswerId(100 + n), 1, [Delta("text")])]) for n in range(5)]
    outcomes = await asyncio.gather(*checkpoints, return_exceptions=True)

    stored = [bool(await postgres_store.journal.events(AnswerId(100 + n))) for n in range(5)]
    assert stored == [outcome is None for outcome in outcomes]
    assert 1 <= stored.count(False) <= 2


async def test_a_unit_of_work_begins_anew_only_when_nothing_came_before(
    databases: Databases, postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    await given(postgres_store, a_user(1), a_conversation(10), a_conversation(11))
    await raise_on(databases, postgres, "DELETE ON conversations", "40P01")
    async with postgres_store.transactions() as work:
        await work.conversations.remove(ALICE, TEN)
        await work.commit()
    await databases.execute("ALTER SEQUENCE failures RESTART", name(postgres))

    async with postgres_store.transactions() as work:
        await work.conversations.get(ALICE, ConversationId(11))
        with pytest.raises(DatabaseUnavailable):
            await work.conversations.remove(ALICE, ConversationId(11))

    assert [summary.id for summary in await postgres_store.conversation_views.summaries(ALICE)] == [11]


async def test_a_row_that_somebody_holds_is_waited_for_only_so_long(
    postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    await given(postgres_store, a_user(1), a_conversation(10), a_conversation(11))
    hasty = server(postgres.url.reveal(), patience=HASTY)

    async with SqlStore.open_server(hasty) as other, postgres_store.transactions() as work:
        await work.conversations.remove(ALICE, TEN)
        outcomes = await asyncio.gather(
            other.journal.begin(a_turn(100)),
            other.journal.begin(a_turn(101, conversation=11)),
            return_exceptions=True,
        )

    assert isinstance(outcomes[0], DatabaseUnavailable)
    assert outcomes[1] == 101


@pytest.mark.parametrize("pool_max", [4, 12])
async def test_slow_reads_of_clients_do_not_make_the_process_look_dead(postgres: PostgresServer, pool_max: int) -> None:
    async with SqlStore.open_server(replace(postgres, pool_max=pool_max)) as store:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_turn(100))

        async with nobody_reads(postgres, "knowledge_bases"):
            reads = [asyncio.create_task(store.knowledge_views.knowledge_bases(ALICE)) for _ in range(30)]
            await asyncio.sleep(0)  # they queue for connections
            async with asyncio.timeout(HELD_UP.total_seconds()):
                await store.check()
                assert await store.leases.beat() == {store.leases.me: 1}
                assert await store.leases.mine() == {HUNDRED: False}
            assert not any(read.done() for read in reads)
        await asyncio.gather(*reads)


async def test_with_the_fewest_connections_there_is_none_to_spare(postgres: PostgresServer) -> None:
    few = replace(postgres, pool_max=3)

    async with SqlStore.open_server(few) as store:
        await store.check()

    assert (few.working, few.reading, few.reserved) == (1, 1, 0)


async def test_ending_an_answer_and_deleting_its_conversation_never_block_each_other(
    postgres: PostgresServer, postgres_store: SqlStore
) -> None:
    numbers = range(10, 40)
    await given(postgres_store, a_user(1), *map(a_conversation, numbers))
    await asyncio.gather(*(postgres_store.journal.begin(a_turn(100 + n, conversation=n)) for n in numbers))

    async with SqlStore.open_server(postgres) as other:
        outcomes = await asyncio.gather(
            *(_write_to_the_end(postgres_store, AnswerId(100 + n)) for n in numbers),
            *(_delete(other, ConversationId(n)) for n in numbers),
        )

    assert set(outcomes) <= {True, False, None}
    assert not await postgres_store.conversation_views.summaries(ALICE)
    for n in numbers:
        with pytest.raises(AnswerNotFound):
            await postgres_store.journal.find(ALICE, AnswerId(100 + n))
        assert not await postgres_store.journal.events(AnswerId(100 + n))


async def _write_to_the_end(store: SqlStore, answer: AnswerId) -> bool:
    await store.journal.checkpoint([Part(answer, 1, [Delta("text")])])
    return await store.journal.finish(answer, 2, [Done()], a_reply(2))


async def _delete(store: SqlStore, conversation: ConversationId) -> None:
    async with store.transactions() as work:
        await work.conversations.remove(ALICE, conversation)
        await work.commit()


async def test_a_transaction_that_ends_as_its_connection_is_lost_is_undone_without_a_word(
    postgres: PostgresServer,
) -> None:
    url = postgres.url.reveal()
    async with Proxy(port_of(url)) as proxy, SqlStore.open_server(server(through(proxy, url))) as store:
        for _ in range(2 * postgres.working):  # none of these connections is missing afterwards
            async with store.transactions() as work:
                await work.users.add(a_user(1))
                proxy.silent = True  # so that the end of the transaction is on its way when the connection is cut
                asyncio.get_running_loop().call_later(0.02, proxy.cut)
            proxy.silent = False

        async with store.transactions() as work:
            assert await work.users.named("user-1") is None


# A server that does not answer ---------------------------------------------------------------------------------------


async def test_reads_that_are_cancelled_end_as_cancelled(cluster: PostgresCluster) -> None:
    """The patience with a connection of the pool is that with giving it back as well, which ends in an error."""
    async with SqlStore.open_server(server(cluster.url(), patience=HASTY)) as store:
        await given(store, a_user(1), a_conversation(10))
        await store.check()
        cluster.freeze()
        reads = (store.check(), store.journal.latest(ALICE, TEN))  # one query, and two of one moment
        reading = [asyncio.create_task(read) for read in reads]
        await asyncio.sleep(HASTY.total_seconds() / 3)

        for task in reading:
            task.cancel()
        await asyncio.wait(reading)

        assert all(task.cancelled() for task in reading)
        cluster.thaw()
        await store.check()


async def test_a_store_is_closed_in_spite_of_a_server_that_does_not_answer(cluster: PostgresCluster) -> None:
    async with SqlStore.open_server(server(cluster.url())) as store:
        await given(store, a_user(1), a_conversation(10))
        await store.check()
        cluster.freeze()
        beginning = asyncio.create_task(store.journal.begin(a_turn(100)))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()

    took = asyncio.get_running_loop().time() - began
    cluster.thaw()
    assert took < 5 * LAST_WORD.total_seconds()
    with pytest.raises(DatabaseUnavailable):
        await beginning
