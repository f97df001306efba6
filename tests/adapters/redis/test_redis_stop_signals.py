import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from llm_backend.application.ports.stop_signals import StopSignals
from llm_backend.domain.ids import AnswerId
from llm_backend.infrastructure.redis.connection import Patience, RedisConnection
from llm_backend.infrastructure.redis.pipelining import run_all
from llm_backend.infrastructure.redis.stop_signals import CHANNEL, RedisStopSignals
from llm_backend.testing.contracts.stop_signals import SOON, StopSignalsContract
from tests.servers import RedisServer

UNHURRIED = Patience(command=timedelta(seconds=20), cool_down=timedelta(0))  # for machines under load
ANSWER = AnswerId(7)


class TestRedisStopSignals(StopSignalsContract):
    @pytest.fixture
    async def signals(self, connection: RedisConnection) -> AsyncIterator[StopSignals]:
        async with RedisStopSignals(connection) as signals:
            yield signals


async def test_another_replica_hears_it(shared_server: RedisServer) -> None:
    async with (
        RedisConnection.open(shared_server.address, patience=UNHURRIED) as here,
        RedisConnection.open(shared_server.address, patience=UNHURRIED) as there,
        RedisStopSignals(there) as listening,
    ):
        heard: asyncio.Queue[AnswerId] = asyncio.Queue()
        listening.subscribe(heard.put_nowait)

        await RedisStopSignals(here).publish(ANSWER)

        assert await asyncio.wait_for(heard.get(), SOON) == ANSWER


async def test_without_redis_nothing_fails_and_afterwards_it_hears_again(server: RedisServer) -> None:
    server.stop()
    async with (
        RedisConnection.open(server.address, patience=UNHURRIED) as connection,
        RedisStopSignals(connection) as signals,
    ):
        heard: asyncio.Queue[AnswerId] = asyncio.Queue()
        signals.subscribe(heard.put_nowait)
        await signals.publish(ANSWER)
        assert heard.empty()

        server.start()

        assert await until_heard(signals, heard) == ANSWER


async def test_what_is_no_answer_is_passed_over(connection: RedisConnection) -> None:
    async with RedisStopSignals(connection) as signals:
        heard: asyncio.Queue[AnswerId] = asyncio.Queue()
        signals.subscribe(heard.put_nowait)

        for garbage in (b"", b"-1", b"0", b"x", b"\xff", b"9" * 5000, "²".encode(), b"9" * 19):
            await run_all(connection, [(b"PUBLISH", CHANNEL, garbage)])
        await signals.publish(ANSWER)

        assert await asyncio.wait_for(heard.get(), SOON) == ANSWER


async def until_heard(signals: StopSignals, heard: asyncio.Queue[AnswerId]) -> AnswerId:
    """Signals get lost until it has subscribed again."""
    async with asyncio.timeout(4 * SOON):
        while True:
            await signals.publish(ANSWER)
            try:
                return await asyncio.wait_for(heard.get(), 0.1)
            except TimeoutError:
                pass
