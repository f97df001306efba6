"""What happens to several servers that are one Redis, beside what the tests of each adapter do with them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from llm_backend.domain.answers import AnswerEvent, Delta, Done, FullText
from llm_backend.domain.ids import AnswerId
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.infrastructure.redis.cache import RedisCache
from llm_backend.infrastructure.redis.connection import Patience, RedisAway, RedisConnection
from llm_backend.infrastructure.redis.entries import stream_key
from llm_backend.infrastructure.redis.stop_signals import RedisStopSignals
from llm_backend.infrastructure.redis.stream_log import RedisStreamLog
from llm_backend.testing.contracts.cache import LONG
from llm_backend.testing.contracts.stream_log import SOON, followed
from tests.servers import RedisClusterServers, RedisServer, free_port

UNHURRIED = Patience(command=timedelta(seconds=20), cool_down=timedelta(0))
MANY = [AnswerId(number) for number in range(1001, 1101)]
EVENTS: list[AnswerEvent] = [Delta("Hel"), Delta("lo"), Done(), FullText("Hello")]


@pytest.fixture
def servers() -> Iterator[RedisClusterServers]:
    """A cluster that may be taken apart."""
    with RedisClusterServers() as servers:
        yield servers


@asynccontextmanager
async def replica(address: str) -> AsyncIterator[RedisStreamLog]:
    async with (
        RedisConnection.open(address, cluster=True, patience=UNHURRIED) as connection,
        RedisStreamLog(MemoryStreamLog(), connection, silence=timedelta(minutes=1)) as log,
    ):
        yield log


async def test_many_answers_at_once_are_followed_wherever_they_are_kept(shared_cluster: RedisClusterServers) -> None:
    async with replica(shared_cluster.address) as here, replica(shared_cluster.servers[1].address) as there:
        for answer in MANY:
            here.open(answer)
            here.append(answer, [EVENTS[0]])
        for answer in MANY:
            await until_known(there, answer)
        following = [asyncio.ensure_future(followed(there, answer)) for answer in MANY]
        await asyncio.sleep(0)
        for answer in MANY:
            here.append(answer, EVENTS[1:])
            here.close(answer)

        seen = await asyncio.wait_for(asyncio.gather(*following), SOON)

    assert seen == [list(enumerate(EVENTS, 1))] * len(MANY)


async def test_an_answer_is_followed_while_its_stream_moves_to_another_server(servers: RedisClusterServers) -> None:
    answer = MANY[0]
    async with replica(servers.address) as here, replica(servers.address) as there:
        here.open(answer)
        here.append(answer, EVENTS[:1])
        await until_known(there, answer)
        following = asyncio.ensure_future(followed(there, answer))

        await asyncio.to_thread(servers.move, stream_key(answer))
        here.append(answer, EVENTS[1:])
        here.close(answer)

        assert await asyncio.wait_for(following, SOON) == list(enumerate(EVENTS, 1))
        assert await there.tail(answer, after=1) == list(enumerate(EVENTS, 1))[1:]


async def test_without_one_of_them_it_looks_away_and_afterwards_it_works_again(servers: RedisClusterServers) -> None:
    async with (
        RedisConnection.open(servers.address, cluster=True, patience=UNHURRIED) as connection,
        RedisStopSignals(connection) as signals,
    ):
        heard: asyncio.Queue[AnswerId] = asyncio.Queue()
        signals.subscribe(heard.put_nowait)
        await connection.check()
        for server in servers.servers:
            server.stop()
            with pytest.raises(RedisAway):
                await connection.check()
            await asyncio.to_thread(server.start)
            await until_there(connection)

        async with asyncio.timeout(SOON):
            while await stored(connection) != [b"value"] * len(MANY):  # noqa: ASYNC110 - they have to agree first
                await asyncio.sleep(0.05)
            while heard.empty():
                await signals.publish(MANY[0])
                await asyncio.sleep(0.05)

        assert await heard.get() == MANY[0]


async def test_a_cluster_that_is_away_at_the_start_is_found_later(servers: RedisClusterServers) -> None:
    for server in servers.servers:
        server.stop()
    async with RedisConnection.open(servers.address, cluster=True, patience=UNHURRIED) as connection:
        with pytest.raises(RedisAway):
            await connection.check()
        for server in servers.servers:
            await asyncio.to_thread(server.start)

        await until_there(connection)


async def test_a_cluster_that_does_not_answer_costs_little_time(servers: RedisClusterServers) -> None:
    hasty = Patience(command=timedelta(milliseconds=300), cool_down=timedelta(minutes=1))
    async with RedisConnection.open(servers.address, cluster=True, patience=hasty) as connection:
        cache = RedisCache(connection)
        await until_there(connection)
        for server in servers.servers:
            server.freeze()
        started = time.monotonic()

        values = await asyncio.gather(*[cache.get(str(answer)) for answer in MANY])

        for server in servers.servers:
            server.thaw()
        assert values == [None] * len(MANY)
        assert time.monotonic() - started < 5


async def test_more_callers_than_connections_wait_for_their_turn(shared_cluster: RedisClusterServers) -> None:
    async with RedisConnection.open(shared_cluster.address, cluster=True, patience=UNHURRIED) as connection:
        cache = RedisCache(connection)
        await cache.set("key", b"value", ttl=LONG)

        values = await asyncio.gather(*[cache.get("key") for _ in range(500)])

    assert values == [b"value"] * 500


async def test_one_of_its_addresses_may_be_wrong(shared_cluster: RedisClusterServers) -> None:
    addresses = f"127.0.0.1:{free_port()}, redis://{shared_cluster.servers[2].address}"
    async with RedisConnection.open(addresses, cluster=True, patience=UNHURRIED) as connection:
        await connection.check()


async def test_a_redis_that_is_no_cluster_is_as_good_as_away() -> None:
    with RedisServer() as server:
        async with RedisConnection.open(server.address, cluster=True, patience=UNHURRIED) as connection:
            with pytest.raises(RedisAway):
                await connection.check()


@pytest.mark.parametrize("address", ["a:1,http://b:2", "a:port", "redis://a:1/3", "unix:///run/redis", "a:1,b:c"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        async with RedisConnection.open(address, cluster=True, password=Secret("secret")):
            pass


async def until_known(log: RedisStreamLog, answer: AnswerId) -> None:
    async with asyncio.timeout(SOON):
        while not await log.tail(answer, after=0):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def stored(connection: RedisConnection) -> list[bytes | None]:
    """Of values for many keys, all over the cluster."""
    cache = RedisCache(connection)
    await asyncio.gather(*[cache.set(str(answer), b"value", ttl=LONG) for answer in MANY])
    return await asyncio.gather(*[cache.get(str(answer)) for answer in MANY])


async def until_there(connection: RedisConnection) -> None:
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await connection.check()
            except RedisAway:
                await asyncio.sleep(0.05)
