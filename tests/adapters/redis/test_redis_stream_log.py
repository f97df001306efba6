import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.domain.answers import AnswerEvent, Delta, Done, Failed, FullText
from llm_backend.domain.errors import AnswerNotFound
from llm_backend.domain.ids import AnswerId
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.infrastructure.redis.connection import Patience, RedisConnection
from llm_backend.infrastructure.redis.entries import EntryWriter, stream_key
from llm_backend.infrastructure.redis.pipelining import run_all
from llm_backend.infrastructure.redis.servers import Reply
from llm_backend.infrastructure.redis.stream_log import RedisStreamLog
from llm_backend.testing.contracts.stream_log import (
    ANSWER,
    OTHER,
    SOON,
    Recording,
    StreamLogContract,
    followed,
    reading,
    written,
)
from tests.servers import RedisServer

UNHURRIED = Patience(command=timedelta(seconds=20), cool_down=timedelta(0))  # for machines under load
HASTY = Patience(command=timedelta(milliseconds=300), cool_down=timedelta(0))
LONG = timedelta(minutes=1)
EVENTS: list[AnswerEvent] = [Delta("Hel"), Delta("lo"), Delta(" you"), Done(), FullText("Hello you")]


@asynccontextmanager
async def replica(
    address: str, *, patience: Patience = UNHURRIED, silence: timedelta = LONG
) -> AsyncIterator[RedisStreamLog]:
    async with (
        RedisConnection.open(address, patience=patience) as connection,
        RedisStreamLog(MemoryStreamLog(), connection, silence=silence) as log,
    ):
        yield log


@pytest.fixture
async def here(connection: RedisConnection) -> AsyncIterator[RedisStreamLog]:
    async with RedisStreamLog(MemoryStreamLog(), connection, silence=LONG) as log:
        yield log


@pytest.fixture
async def there(connection: RedisConnection) -> AsyncIterator[RedisStreamLog]:
    async with RedisStreamLog(MemoryStreamLog(), connection, silence=LONG) as log:
        yield log


class TestRedisStreamLog(StreamLogContract):
    @pytest.fixture
    def log(self, here: RedisStreamLog) -> StreamLog:
        return here


# Two replicas ---------------------------------------------------------------------------------------------------------


async def test_what_one_replica_writes_another_follows_as_it_comes(here: RedisStreamLog, there: RedisStreamLog) -> None:
    here.open(ANSWER)
    await delivered(here, "first")
    async with reading(there) as batches:
        seen = list(await asyncio.wait_for(anext(batches), SOON))

        for letter in "abc":
            here.append(ANSWER, [Delta(letter)])
            seen += await asyncio.wait_for(anext(batches), SOON)
        here.close(ANSWER)
        seen += [event async for batch in batches for event in batch]

    assert seen == list(enumerate([Delta("first"), Delta("a"), Delta("b"), Delta("c")], 1))


@pytest.mark.parametrize("after", range(len(EVENTS) + 3))
async def test_another_replica_resumes_after_any_number(
    here: RedisStreamLog, there: RedisStreamLog, after: int
) -> None:
    here.open(ANSWER)
    for event in EVENTS[:2]:
        await delivered(here, event)
    here.append(ANSWER, EVENTS[2:])  # three in one entry
    await ended(here)

    assert await followed(there, ANSWER, after=after) == list(enumerate(EVENTS, 1))[after:]


@pytest.mark.parametrize("after", range(len(EVENTS) + 1))
async def test_a_reader_that_is_called_gets_what_another_replica_writes(
    here: RedisStreamLog, there: RedisStreamLog, after: int
) -> None:
    here.open(ANSWER)
    await delivered(here, EVENTS[0])
    reader = Recording(after=after)
    pushing = asyncio.ensure_future(there.push(ANSWER, reader, after=reader.after))

    here.append(ANSWER, EVENTS[1:])
    await ended(here)
    await asyncio.wait_for(pushing, SOON)

    assert reader.taken == list(enumerate(EVENTS, 1))[after:]


async def test_no_reader_sees_what_another_replica_could_not_find(here: RedisStreamLog, there: RedisStreamLog) -> None:
    here.open(ANSWER)
    async with reading(here) as batches:
        for letter in "abcdef":
            here.append(ANSWER, [Delta(letter)])
            batch = await asyncio.wait_for(anext(batches), SOON)

            known = await there.tail(ANSWER, after=0)

            assert known[-len(batch) :] == list(batch)


async def test_hundreds_follow_over_a_handful_of_connections(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    answers = [AnswerId(number) for number in range(1, 101)]
    for answer in answers:
        here.open(answer)
    await delivered(here, "x", AnswerId(100))
    followers = [asyncio.ensure_future(followed(there, answer)) for answer in answers * 3]

    for answer in answers:
        here.append(answer, EVENTS)
        here.close(answer)
    everything = await asyncio.wait_for(asyncio.gather(*followers), 4 * SOON)

    clients = await connection.run(lambda client: client.client_list())  # type: ignore[attr-defined]
    assert all([event for _, event in events][-len(EVENTS) :] == EVENTS for events in everything)
    assert len(clients) <= 8


async def test_events_that_come_together_are_written_together(
    here: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    for number in range(1000):
        here.append(ANSWER, [Delta(str(number))])
    await ended(here)

    assert await ask(connection, b"XLEN", stream_key(ANSWER)) == 3  # opened, all of them, closed


async def test_streams_do_not_stay_for_ever(here: RedisStreamLog, connection: RedisConnection) -> None:
    here.open(ANSWER)
    await delivered(here, "a")
    running = await ask(connection, b"TTL", stream_key(ANSWER))
    here.append(ANSWER, [FullText("a")])
    await ended(here)
    over = await ask(connection, b"TTL", stream_key(ANSWER))

    assert 0 < over <= 10 * 60 < running <= 60 * 60  # type: ignore[operator]


async def test_a_stream_that_is_opened_and_closed_in_one_write_does_not_stay_for_ever(
    here: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    here.append(ANSWER, [Delta("handed over")])
    await ended(here)

    assert 0 < await ask(connection, b"TTL", stream_key(ANSWER)) <= 60 * 60  # type: ignore[operator]


async def test_a_stream_that_was_evicted_comes_back_with_what_is_new_and_not_for_ever(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    await delivered(here, "a")

    await ask(connection, b"DEL", stream_key(ANSWER))
    await delivered(here, "b")
    running = await ask(connection, b"TTL", stream_key(ANSWER))
    await ended(here)

    assert running > 10 * 60  # type: ignore[operator]
    assert await followed(there, ANSWER, after=1) == [(2, Delta("b"))]


async def test_a_log_that_was_opened_for_nothing_leaves_no_key(
    here: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(OTHER)
    here.close(OTHER)  # before anything was written
    here.open(ANSWER)
    await until_keys(connection, 1)

    here.close(ANSWER)
    await until_keys(connection, 0)


async def test_what_was_opened_and_closed_in_vain_is_never_written(connection: RedisConnection) -> None:
    async with RedisStreamLog(MemoryStreamLog(), connection) as log:
        for number in range(1, 101):
            log.open(AnswerId(number))
            log.close(AnswerId(number))

    assert await keys(connection) == []


async def test_a_log_that_was_opened_for_nothing_takes_nothing_away_from_another_writer(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    await until_keys(connection, 1)
    there.open(ANSWER, after=100)
    await delivered(there, "a")

    await ended(here)

    assert await here.tail(ANSWER, after=0) == [(101, Delta("a"))]


async def test_what_is_appended_at_the_very_end_is_in_redis_when_the_log_is_left(
    connection: RedisConnection, there: RedisStreamLog
) -> None:
    async with RedisStreamLog(MemoryStreamLog(), connection) as log:
        written(log, ANSWER, EVENTS)

    assert await followed(there, ANSWER) == list(enumerate(EVENTS, 1))


# Taking over ----------------------------------------------------------------------------------------------------------


async def test_who_takes_an_answer_over_knows_all_that_was_seen_of_it(
    here: RedisStreamLog, there: RedisStreamLog
) -> None:
    here.open(ANSWER)
    for letter in "abc":
        await delivered(here, letter)

    assert await there.tail(ANSWER, after=1) == [(2, Delta("b")), (3, Delta("c"))]
    assert await there.tail(ANSWER, after=3) == []
    assert await there.starts_after(ANSWER) == 0


async def test_a_reader_goes_over_to_the_new_writer_by_way_of_the_journal(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    await delivered(here, "a")
    async with RedisStreamLog(MemoryStreamLog(), connection, silence=LONG) as third, reading(third) as batches:
        first = await asyncio.wait_for(anext(batches), SOON)
        there.open(ANSWER, after=100)
        there.append(ANSWER, [Failed("interrupted", "Interrupted")])
        with pytest.raises(AnswerNotFound):
            await asyncio.wait_for(anext(batches), SOON)
        there.close(ANSWER)

        rest = await followed(third, ANSWER, after=await third.starts_after(ANSWER))

    assert list(first) == [(1, Delta("a"))]
    assert rest == [(101, Failed("interrupted", "Interrupted"))]


async def test_a_writer_whose_answer_was_taken_over_adds_nothing_to_it(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    await delivered(here, "a")
    there.open(ANSWER, after=100)
    await delivered(there, "b")

    here.append(ANSWER, [Delta("late"), FullText("a late")])
    await ended(here)
    await delivered(there, "c")

    assert await ask(connection, b"TTL", stream_key(ANSWER)) > 10 * 60  # type: ignore[operator]
    async with RedisStreamLog(MemoryStreamLog(), connection) as third:
        assert await third.tail(ANSWER, after=100) == [(101, Delta("b")), (102, Delta("c"))]
        assert await third.tail(ANSWER, after=0) == [(1, Delta("a")), (101, Delta("b")), (102, Delta("c"))]


async def test_a_writer_that_stood_still_while_its_answer_was_taken_over_tells_nobody_what_others_will_tell(
    here: RedisStreamLog, there: RedisStreamLog
) -> None:
    here.open(ANSWER)
    await delivered(here, "a")
    reader = Recording(after=0)
    pushing = asyncio.ensure_future(here.push(ANSWER, reader, after=0))
    async with reading(here) as batches:
        seen = list(await asyncio.wait_for(anext(batches), SOON))
        there.open(ANSWER, after=100)
        await delivered(there, "b")

        numbers = [here.append(ANSWER, [Delta("late")])]
        async with asyncio.timeout(SOON):
            seen += [event async for batch in batches for event in batch]
            is_over = await pushing
        numbers += [here.append(ANSWER, [Delta("later"), FullText("a late later")])]
        here.close(ANSWER)

    assert seen == reader.taken == [(1, Delta("a"))]
    assert not is_over
    assert numbers == [2, 4]
    assert await there.tail(ANSWER, after=0) == [(1, Delta("a")), (101, Delta("b"))]
    with pytest.raises(AnswerNotFound):  # what is next is in the journal
        await followed(here, ANSWER, after=1)


# Redis goes away ------------------------------------------------------------------------------------------------------


async def test_without_redis_it_is_a_log_in_memory(server: RedisServer) -> None:
    server.stop()
    async with replica(server.address) as log:
        written(log, ANSWER, EVENTS)

        assert await followed(log, ANSWER) == list(enumerate(EVENTS, 1))
        assert await log.tail(OTHER, after=0) == []
        assert await log.starts_after(OTHER) == 0
        with pytest.raises(AnswerNotFound):
            await followed(log, OTHER)


async def test_while_redis_is_away_nobody_here_waits_and_afterwards_the_stream_is_whole(server: RedisServer) -> None:
    async with replica(server.address, patience=HASTY) as here, replica(server.address) as there:
        here.open(ANSWER)
        await delivered(here, "1")
        server.freeze()
        await delivered(here, "2")  # waits for the patience of one command
        follower = asyncio.ensure_future(followed(here, ANSWER, after=2))
        await asyncio.sleep(0)

        here.append(ANSWER, [Delta("3"), Delta("4")])
        here.append(ANSWER, [Delta("5")])
        local = [number for number, _ in await here._local.follow(ANSWER, after=2).__anext__()]
        server.thaw()
        whole = await until_there(there, ANSWER, 5)
        here.close(ANSWER)

        assert local == [3, 4, 5]
        assert whole == list(enumerate([Delta(letter) for letter in "12345"], 1))
        assert await follower == whole[2:]


async def test_a_redis_that_forgot_everything_gets_what_comes_from_then_on(server: RedisServer) -> None:
    async with replica(server.address) as here, replica(server.address) as there:
        here.open(ANSWER)
        await delivered(here, "1")
        async with reading(there) as batches:
            await asyncio.wait_for(anext(batches), SOON)
            server.stop()
            await delivered(here, "2")
            with pytest.raises(AnswerNotFound):
                await asyncio.wait_for(anext(batches), SOON)
        server.start()
        await delivered(here, "3")

        rest = await until_there(there, ANSWER, 3, after=1)
        ttl = await ask(there._connection, b"TTL", stream_key(ANSWER))

        assert rest == [(2, Delta("2")), (3, Delta("3"))]
        assert ttl > 0  # type: ignore[operator]
        with pytest.raises(AnswerNotFound):
            await followed(there, ANSWER)


async def test_what_ended_while_redis_was_away_is_not_left_half_there(server: RedisServer) -> None:
    async with replica(server.address, patience=HASTY) as here, replica(server.address) as there:
        here.open(ANSWER)
        await delivered(here, "1")
        server.freeze()
        here.append(ANSWER, [FullText("1")])
        here.close(ANSWER)
        seen = await followed(here, ANSWER)
        server.thaw()

        await until_gone(there)

        assert seen == [(1, Delta("1")), (2, FullText("1"))]


async def test_a_redis_without_memory_is_as_good_as_away(connection: RedisConnection, here: RedisStreamLog) -> None:
    here.open(ANSWER)
    await delivered(here, "1")
    await connection.run(lambda client: client.config_set("maxmemory", 1, target_nodes="all"))  # type: ignore[attr-defined]
    try:
        await delivered(here, "2")
        assert await here.tail(ANSWER, after=0) == [(1, Delta("1"))]
    finally:
        await connection.run(lambda client: client.config_set("maxmemory", 0, target_nodes="all"))  # type: ignore[attr-defined]

    assert await until_there(here, ANSWER, 2) == [(1, Delta("1")), (2, Delta("2"))]


async def test_it_can_be_left_while_redis_is_away(server: RedisServer) -> None:
    async with replica(server.address) as log:
        log.open(ANSWER)
        await delivered(log, "1")
        server.stop()
        written(log, OTHER, EVENTS)

    assert await followed(log, OTHER) == list(enumerate(EVENTS, 1))


# What is not as it should be ------------------------------------------------------------------------------------------


async def test_a_stream_that_was_trimmed_is_not_found_by_who_needs_its_beginning(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    for letter in "abc":
        await delivered(here, letter)
    await ended(here)

    await ask(connection, b"XTRIM", stream_key(ANSWER), b"MAXLEN", 2)  # the last event and the end

    with pytest.raises(AnswerNotFound):
        await followed(there, ANSWER, after=1)
    assert await there.tail(ANSWER, after=1) == []
    assert await followed(there, ANSWER, after=2) == [(3, Delta("c"))]


async def test_a_stream_that_runs_out_in_the_middle_is_not_waited_for(
    here: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    await delivered(here, "a")
    impatient = RedisStreamLog(MemoryStreamLog(), connection, silence=timedelta(milliseconds=200))
    async with impatient, reading(impatient) as batches:
        await asyncio.wait_for(anext(batches), SOON)

        await ask(connection, b"DEL", stream_key(ANSWER))

        with pytest.raises(AnswerNotFound):
            await asyncio.wait_for(anext(batches), SOON)


async def test_garbage_in_a_stream_is_passed_over_and_logged_once(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection, caplog: pytest.LogCaptureFixture
) -> None:
    here.open(ANSWER)
    await delivered(here, "a")
    with caplog.at_level(logging.WARNING):
        for number in range(3, 6):
            await ask(connection, b"XADD", stream_key(ANSWER), f"1-{number}".encode(), b"unknown", b"field")
        await delivered(here, "b")
        await ended(here)

        seen = await followed(there, ANSWER)

    assert seen == [(1, Delta("a")), (2, Delta("b"))]
    assert len([record for record in caplog.records if "none of ours" in record.message]) == 1


async def test_a_key_that_is_taken_by_something_else_harms_this_answer_alone(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    await ask(connection, b"SET", stream_key(ANSWER), b"something else")
    for answer in (ANSWER, OTHER):
        here.open(answer)
        here.append(answer, EVENTS)
        here.close(answer)

    assert await followed(here, ANSWER) == await followed(here, OTHER) == list(enumerate(EVENTS, 1))
    assert await followed(there, OTHER) == list(enumerate(EVENTS, 1))
    with pytest.raises(AnswerNotFound):
        await followed(there, ANSWER)


async def test_an_answer_longer_than_one_read_comes_whole(
    here: RedisStreamLog, there: RedisStreamLog, connection: RedisConnection
) -> None:
    here.open(ANSWER)
    await delivered(here, "x")
    writer = EntryWriter(stream_key(ANSWER), 0)
    await run_all(connection, [writer.events(number, b"\x91\xa1x") for number in range(2, 1500)])

    assert len(await there.tail(ANSWER, after=0)) == 1499


async def delivered(log: RedisStreamLog, event: AnswerEvent | str, answer: AnswerId = ANSWER) -> None:
    """Append an event, and wait until readers here have it."""
    last = log.append(answer, [Delta(event) if isinstance(event, str) else event])
    async with asyncio.timeout(4 * SOON):
        await anext(log.follow(answer, after=last - 1))


async def ended(log: RedisStreamLog) -> None:
    """Close a log, and wait until that has gone through."""
    log.close(ANSWER)
    async with asyncio.timeout(4 * SOON):
        async for _ in log._local.follow(ANSWER, after=await log._local.starts_after(ANSWER)):
            pass


async def until_there(log: RedisStreamLog, answer: AnswerId, last: int, after: int = 0) -> Sequence[NumberedEvent]:
    """What another replica can find of an answer, once it can find that number."""
    async with asyncio.timeout(4 * SOON):
        while True:
            events = await log.tail(answer, after=after)
            if events and events[-1][0] >= last:
                return events
            await asyncio.sleep(0.01)


async def until_gone(log: RedisStreamLog) -> None:
    async with asyncio.timeout(4 * SOON):
        while True:
            if not await log.tail(ANSWER, after=0):
                return
            await asyncio.sleep(0.01)


async def until_keys(connection: RedisConnection, count: int) -> None:
    async with asyncio.timeout(4 * SOON):
        while True:
            if len(await keys(connection)) == count:
                return
            await asyncio.sleep(0.01)


async def keys(connection: RedisConnection) -> list[bytes]:
    """Of all servers."""
    return await connection.run(lambda client: client.keys(target_nodes="primaries"))  # type: ignore[attr-defined]


async def ask(connection: RedisConnection, *command: bytes | int) -> Reply:
    [reply] = await run_all(connection, [command])
    return reply
