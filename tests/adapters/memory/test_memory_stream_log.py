import asyncio
from datetime import timedelta

import pytest

from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.domain.answers import Delta
from llm_backend.domain.errors import AnswerNotFound
from llm_backend.domain.ids import AnswerId
from llm_backend.infrastructure.memory.stream_log import Kept, MemoryStreamLog
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.stream_log import ANSWER, OTHER, StreamLogContract, followed, written


class TestMemoryStreamLog(StreamLogContract):
    @pytest.fixture
    def log(self) -> StreamLog:
        return MemoryStreamLog()


async def test_what_ended_a_while_ago_is_forgotten(clock: ManualClock) -> None:
    log = MemoryStreamLog(Kept(time=timedelta(minutes=1)), monotonic=clock.monotonic)
    written(log, ANSWER, [Delta("a")])

    clock.advance(timedelta(seconds=59))
    before = await followed(log, ANSWER)
    clock.advance(timedelta(seconds=1))

    assert before == [(1, Delta("a"))]
    with pytest.raises(AnswerNotFound):
        await followed(log, ANSWER)


async def test_what_is_still_running_is_never_forgotten(clock: ManualClock) -> None:
    log = MemoryStreamLog(Kept(logs=0, bytes=0, time=timedelta(0)), monotonic=clock.monotonic)
    log.open(ANSWER)
    log.append(ANSWER, [Delta("a" * 1000)])
    clock.advance(timedelta(days=1))
    written(log, OTHER, [Delta("b")])

    follower = asyncio.ensure_future(followed(log, ANSWER))
    await asyncio.sleep(0)
    log.close(ANSWER)

    assert len(await follower) == 1


@pytest.mark.parametrize("kept", [Kept(logs=3), Kept(bytes=4000)])
async def test_only_so_much_of_what_has_ended_is_kept(kept: Kept) -> None:
    log = MemoryStreamLog(kept)

    for number in range(1, 11):
        written(log, AnswerId(number), [Delta("x" * 1000)])

    assert [number for number in range(1, 11) if await is_there(log, AnswerId(number))] == [8, 9, 10]


async def test_who_follows_a_log_that_is_forgotten_meanwhile_still_gets_all_of_it() -> None:
    log = MemoryStreamLog(Kept(logs=0))
    log.open(ANSWER)
    follower = asyncio.ensure_future(followed(log, ANSWER))
    await asyncio.sleep(0)

    log.append(ANSWER, [Delta("a")])
    log.close(ANSWER)

    assert await follower == [(1, Delta("a"))]


async def test_a_follower_that_left_leaves_nothing_behind() -> None:
    log = MemoryStreamLog()
    log.open(ANSWER)
    followers = [asyncio.ensure_future(followed(log, ANSWER)) for _ in range(100)]
    await asyncio.sleep(0)
    waiting = len(log._open[ANSWER].waiting)

    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)

    assert waiting == 100
    assert not log._open[ANSWER].waiting


async def test_a_log_is_not_opened_twice_at_once() -> None:
    log = MemoryStreamLog()
    log.open(ANSWER)

    with pytest.raises(ValueError, match="open already"):
        log.open(ANSWER)


async def test_nothing_is_appended_to_a_log_that_is_not_open() -> None:
    log = MemoryStreamLog()
    written(log, ANSWER, [])

    for answer in (ANSWER, OTHER):
        with pytest.raises(ValueError, match="not open"):
            log.append(answer, [Delta("a")])


async def is_there(log: MemoryStreamLog, answer: AnswerId) -> bool:
    try:
        return bool(await followed(log, answer))
    except AnswerNotFound:
        return False
