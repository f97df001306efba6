import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.redis.connection import Patience, RedisAway, RedisConnection
from llm_backend.infrastructure.redis.servers import RedisCommands
from llm_backend.testing.clock import ManualClock
from tests.servers import RedisServer, free_port

COOL_DOWN = timedelta(minutes=1)
PATIENT = Patience(command=timedelta(seconds=20), cool_down=COOL_DOWN)  # for machines under load
HASTY = Patience(command=timedelta(milliseconds=300), cool_down=COOL_DOWN)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def own(server: RedisServer, clock: ManualClock) -> AsyncIterator[RedisConnection]:
    """To a Redis that may be stopped; the cool-down goes by the manual clock."""
    async with RedisConnection.open(server.address, patience=PATIENT, monotonic=clock.monotonic) as connection:
        yield connection


async def ping(client: RedisCommands) -> object:
    return await client.ping()


async def test_a_redis_that_is_there_is_found(own: RedisConnection) -> None:
    await own.check()

    assert await own.run(ping)


async def test_opening_a_connection_to_nobody_is_no_error_and_using_it_is_one() -> None:
    async with RedisConnection.open(f"127.0.0.1:{free_port()}") as connection:
        with pytest.raises(RedisAway):
            await connection.run(ping)
        with pytest.raises(RedisAway):
            await connection.check()


async def test_while_it_cools_down_nobody_tries(own: RedisConnection, server: RedisServer, clock: ManualClock) -> None:
    server.stop()
    with pytest.raises(RedisAway):
        await own.run(ping)
    server.start()

    clock.advance(COOL_DOWN / 2)
    with pytest.raises(RedisAway):
        await own.run(ping)

    clock.advance(COOL_DOWN / 2)
    assert await own.run(ping)


async def test_a_restart_is_noticed_once_and_not_by_every_connection_of_the_pool(
    own: RedisConnection, server: RedisServer, clock: ManualClock
) -> None:
    await asyncio.gather(*[own.run(ping) for _ in range(8)])
    server.stop()
    server.start()

    with pytest.raises(RedisAway):
        await own.run(ping)
    clock.advance(COOL_DOWN)

    assert all([await own.run(ping) for _ in range(16)])
    assert all(await asyncio.gather(*[own.run(ping) for _ in range(8)]))


async def test_after_the_cool_down_only_one_tries(
    own: RedisConnection, server: RedisServer, clock: ManualClock
) -> None:
    server.stop()
    with pytest.raises(RedisAway):
        await own.run(ping)
    clock.advance(COOL_DOWN)
    attempts = []

    async def attempt(client: RedisCommands) -> object:
        attempts.append(1)
        return await client.ping()

    outcomes = await asyncio.gather(*(own.run(attempt) for _ in range(50)), return_exceptions=True)

    assert len(attempts) == 1
    assert all(isinstance(outcome, RedisAway) for outcome in outcomes)


async def test_a_readiness_check_looks_in_spite_of_the_cool_down_and_ends_it(
    own: RedisConnection, server: RedisServer
) -> None:
    server.stop()
    with pytest.raises(RedisAway):
        await own.run(ping)
    with pytest.raises(RedisAway):
        await own.check()

    server.start()
    await own.check()

    assert await own.run(ping)


@pytest.mark.parametrize(
    ("refuse", "accept"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),  # and nothing is evicted, which is the default
        (f"REPLICAOF 127.0.0.1 {free_port()}", "REPLICAOF NO ONE"),
    ],
    ids=["full", "read-only"],
)
async def test_a_redis_that_answers_and_takes_nothing_is_away(
    own: RedisConnection, server: RedisServer, refuse: str, accept: str
) -> None:
    server.say(refuse)
    assert await own.run(ping)

    with pytest.raises(RedisAway):
        await own.check()
    server.say(accept)
    await own.check()


async def test_a_check_leaves_nothing_for_ever(connection: RedisConnection) -> None:
    for _ in range(3):
        await connection.check()

    [key] = await connection.run(lambda client: client.keys(target_nodes="primaries"))  # type: ignore[attr-defined]
    assert 0 < await connection.run(lambda client: client.pttl(key)) <= 60_000  # type: ignore[attr-defined]


async def test_going_and_coming_back_are_logged_once_each(
    own: RedisConnection, server: RedisServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            clock.advance(COOL_DOWN)
            with pytest.raises(RedisAway):
                await own.run(ping)
        server.start()
        await own.check()
        await own.check()

    assert [record.message.split(",")[0] for record in caplog.records] == ["Redis is away", "Redis is back"]


async def test_a_redis_that_does_not_answer_costs_little_time(server: RedisServer) -> None:
    async with RedisConnection.open(server.address, patience=HASTY) as connection:
        await connection.check()
        server.freeze()
        started = time.monotonic()

        outcomes = await asyncio.gather(*(connection.run(ping) for _ in range(100)), return_exceptions=True)

        assert all(isinstance(outcome, RedisAway) for outcome in outcomes)
        assert time.monotonic() - started < 5


async def test_answers_that_come_too_late_are_not_taken_for_others(server: RedisServer) -> None:
    async with (
        RedisConnection.open(server.address, patience=PATIENT) as patient,
        RedisConnection.open(server.address, patience=HASTY) as hasty,
    ):
        for name in ("late", "next"):
            await patient.run(lambda client, name=name: client.set(name, name.encode(), px=60_000))  # type: ignore[misc]
        server.freeze()
        with pytest.raises(RedisAway):
            await hasty.run(lambda client: client.get("late"))

        server.thaw()
        await asyncio.wait_for(until_back(hasty), 20)

        assert await hasty.run(lambda client: client.get("next")) == b"next"


async def test_a_caller_that_gives_up_leaves_the_connection_usable(own: RedisConnection, server: RedisServer) -> None:
    await own.run(lambda client: client.set("key", b"value", px=60_000))
    server.freeze()
    callers = [asyncio.ensure_future(own.run(ping)) for _ in range(40)]
    await asyncio.sleep(0)

    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    server.thaw()

    assert await own.run(lambda client: client.get("key")) == b"value"


async def test_a_wrong_password_is_like_no_redis_and_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer("--requirepass", "right") as server:
        right = RedisConnection.open(server.address, password=Secret("right"), patience=PATIENT)
        wrong = RedisConnection.open(server.address, password=Secret("very-wrong"), patience=PATIENT)
        async with right as known, wrong as unknown:
            await known.check()
            with pytest.raises(RedisAway) as caught:
                await unknown.check()

    assert "very-wrong" not in f"{caught.value!r}{caught.value.__cause__!r}{caplog.text}"


async def test_databases_of_one_redis_are_apart(shared_server: RedisServer) -> None:
    async with (
        RedisConnection.open(shared_server.address, db=3, patience=PATIENT) as third,
        RedisConnection.open(f"redis://{shared_server.address}/4", patience=PATIENT) as fourth,
    ):
        await third.run(lambda client: client.set("key", b"third", px=60_000))

        assert await fourth.run(lambda client: client.get("key")) is None


@pytest.mark.parametrize("address", ["http://localhost:6379", "localhost:port", "localhost:99999999"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        async with RedisConnection.open(address):
            pass


def test_nothing_of_the_library_is_loaded_before_a_connection_is_opened() -> None:
    script = (
        "import sys, llm_backend.infrastructure.redis.cache, llm_backend.infrastructure.redis.rate_limiter; "
        "print([name for name in sys.modules if name.split('.')[0] == 'redis'])"
    )

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"


async def until_back(connection: RedisConnection) -> None:
    while True:
        try:
            return await connection.check()
        except RedisAway:
            await asyncio.sleep(0.01)
