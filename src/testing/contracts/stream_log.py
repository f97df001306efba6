"""What every stream log must keep."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.stream_log import StreamLog
from llm_backend.domain.answers import AnswerEvent, Delta, Done, Failed, FullText
from llm_backend.domain.errors import AnswerNotFound
from llm_backend.domain.ids import LARGEST_ID, AnswerId

ANSWER = AnswerId(1)
OTHER = AnswerId(LARGEST_ID)
SOON = 5  # seconds; what takes longer hangs


class StreamLogContract:
    """Every reader gets every event, in order, to the end. Needs the fixture `log`."""

    async def test_a_late_follower_sees_everything_in_order(self, log: StreamLog) -> None:
        events: list[AnswerEvent] = [Delta("a"), Delta("b"), Done(), FullText("ab")]
        written(log, ANSWER, events)

        assert await followed(log, ANSWER) == list(enumerate(events, 1))

    async def test_a_follower_sees_what_arrives_while_it_waits(self, log: StreamLog) -> None:
        log.open(ANSWER)
        async with reading(log) as batches:
            waiting = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0)

            log.append(ANSWER, [Delta("a"), Delta("b")])

            assert list(await asyncio.wait_for(waiting, SOON)) == [(1, Delta("a")), (2, Delta("b"))]

    async def test_numbers_rise_by_one_and_append_returns_the_last(self, log: StreamLog) -> None:
        log.open(ANSWER)

        numbers = [log.append(ANSWER, [Delta("x")] * count) for count in (1, 3, 0, 2)]

        assert numbers == [1, 4, 4, 6]

    async def test_what_is_new_comes_as_one_batch(self, log: StreamLog) -> None:
        log.open(ANSWER)
        for letter in "abc":
            log.append(ANSWER, [Delta(letter)])

        async with reading(log) as batches:
            first = await anext(batches)

        assert list(first) == [(1, Delta("a")), (2, Delta("b")), (3, Delta("c"))]

    async def test_two_followers_do_not_steal_from_each_other(self, log: StreamLog) -> None:
        log.open(ANSWER)
        followers = [asyncio.ensure_future(followed(log, ANSWER)) for _ in range(2)]

        for letter in "abc":
            await asyncio.sleep(0)
            log.append(ANSWER, [Delta(letter)])
        log.close(ANSWER)

        both = await asyncio.wait_for(asyncio.gather(*followers), SOON)
        assert both[0] == both[1] == [(1, Delta("a")), (2, Delta("b")), (3, Delta("c"))]

    async def test_a_slow_follower_does_not_hold_up_another(self, log: StreamLog) -> None:
        log.open(ANSWER)
        log.append(ANSWER, [Delta("a")])
        async with reading(log) as slow:
            await anext(slow)
            log.append(ANSWER, [Delta("b")])
            log.append(ANSWER, [Delta("c")])
            log.close(ANSWER)

            quick = await followed(log, ANSWER)
            rest = [event async for batch in slow for event in batch]

        assert quick == [(1, Delta("a")), (2, Delta("b")), (3, Delta("c"))]
        assert rest == quick[1:]

    @pytest.mark.parametrize("after", [0, 1, 2, 3])
    async def test_following_resumes_after_a_number(self, log: StreamLog, after: int) -> None:
        written(log, ANSWER, [Delta("a"), Delta("b"), Failed("stopped", "Stopped")])

        numbers = [number for number, _ in await followed(log, ANSWER, after=after)]

        assert numbers == list(range(after + 1, 4))

    async def test_a_number_that_has_not_come_yet_is_waited_for(self, log: StreamLog) -> None:
        log.open(ANSWER)
        log.append(ANSWER, [Delta("a")])
        follower = asyncio.ensure_future(followed(log, ANSWER, after=2))

        for letter in "bcd":
            await asyncio.sleep(0)
            log.append(ANSWER, [Delta(letter)])
        log.close(ANSWER)

        assert await asyncio.wait_for(follower, SOON) == [(3, Delta("c")), (4, Delta("d"))]

    async def test_batches_are_never_empty(self, log: StreamLog) -> None:
        log.open(ANSWER)
        follower = asyncio.ensure_future(batches_of(log.follow(ANSWER)))
        await asyncio.sleep(0)

        log.append(ANSWER, [])
        await asyncio.sleep(0)
        log.append(ANSWER, [Delta("a")])
        await asyncio.sleep(0)
        log.close(ANSWER)

        assert [list(batch) for batch in await asyncio.wait_for(follower, SOON)] == [[(1, Delta("a"))]]

    async def test_following_ends_when_the_log_is_closed(self, log: StreamLog) -> None:
        log.open(ANSWER)
        follower = asyncio.ensure_future(followed(log, ANSWER))
        await asyncio.sleep(0)

        log.close(ANSWER)

        assert await asyncio.wait_for(follower, SOON) == []

    async def test_closing_loses_nothing_that_was_appended_just_before(self, log: StreamLog) -> None:
        log.open(ANSWER)
        follower = asyncio.ensure_future(followed(log, ANSWER))
        await asyncio.sleep(0)

        log.append(ANSWER, [Delta("a")])
        log.append(ANSWER, [FullText("a")])
        log.close(ANSWER)

        assert await asyncio.wait_for(follower, SOON) == [(1, Delta("a")), (2, FullText("a"))]

    async def test_closing_twice_or_what_was_never_opened_is_no_error(self, log: StreamLog) -> None:
        log.open(ANSWER)

        log.close(ANSWER)
        log.close(ANSWER)
        log.close(OTHER)

        assert not log.is_open(ANSWER)

    async def test_a_log_is_open_between_open_and_close(self, log: StreamLog) -> None:
        before = log.is_open(ANSWER)
        log.open(ANSWER)
        during = log.is_open(ANSWER)
        log.close(ANSWER)

        assert (before, during, log.is_open(ANSWER)) == (False, True, False)

    async def test_an_unknown_log_is_not_found_at_the_first_step(self, log: StreamLog) -> None:
        batches = log.follow(ANSWER)

        with pytest.raises(AnswerNotFound):
            await anext(batches)

    async def test_an_answer_that_was_begun_elsewhere_goes_on_at_a_higher_number(self, log: StreamLog) -> None:
        log.open(ANSWER, after=100)

        numbers = [log.append(ANSWER, [Delta(letter)]) for letter in "ab"]
        log.close(ANSWER)

        assert numbers == [101, 102]
        assert await followed(log, ANSWER, after=100) == [(101, Delta("a")), (102, Delta("b"))]
        assert await followed(log, ANSWER, after=101) == [(102, Delta("b"))]

    @pytest.mark.parametrize("after", [0, 99])
    async def test_what_comes_before_the_start_of_a_log_is_not_found_in_it(self, log: StreamLog, after: int) -> None:
        log.open(ANSWER, after=100)
        log.append(ANSWER, [Delta("a")])

        with pytest.raises(AnswerNotFound):
            await followed(log, ANSWER, after=after)

    async def test_a_log_tells_where_it_starts(self, log: StreamLog) -> None:
        log.open(ANSWER, after=100)

        assert await log.starts_after(ANSWER) == 100
        assert await log.starts_after(OTHER) == 0

    async def test_nothing_is_known_of_an_answer_that_nobody_writes(self, log: StreamLog) -> None:
        assert list(await log.tail(ANSWER, after=0)) == []

    async def test_logs_do_not_mix(self, log: StreamLog) -> None:
        written(log, ANSWER, [Delta("mine")])
        written(log, OTHER, [Delta("theirs")])

        assert await followed(log, ANSWER) == [(1, Delta("mine"))]
        assert await followed(log, OTHER) == [(1, Delta("theirs"))]

    async def test_a_cancelled_follower_leaves_the_others_alone(self, log: StreamLog) -> None:
        log.open(ANSWER)
        leaving, staying = (asyncio.ensure_future(followed(log, ANSWER)) for _ in range(2))
        await asyncio.sleep(0)

        leaving.cancel()
        await asyncio.wait([leaving], timeout=SOON)
        log.append(ANSWER, [Delta("a")])
        log.close(ANSWER)

        assert leaving.cancelled()
        assert await asyncio.wait_for(staying, SOON) == [(1, Delta("a"))]

    async def test_followers_that_leave_and_join_in_one_breath_miss_nothing(self, log: StreamLog) -> None:
        log.open(ANSWER)
        followers = [asyncio.ensure_future(followed(log, ANSWER)) for _ in range(10)]
        await asyncio.sleep(0)

        log.append(ANSWER, [Delta("a")])
        for follower in followers[::2]:
            follower.cancel()  # woken and cancelled in the same turn of the loop
        followers.append(asyncio.ensure_future(followed(log, ANSWER)))
        await asyncio.sleep(0)
        log.append(ANSWER, [Delta("b")])
        log.close(ANSWER)

        results = await asyncio.wait_for(asyncio.gather(*followers, return_exceptions=True), SOON)
        stayed = [result for result in results if not isinstance(result, BaseException)]
        assert stayed == [[(1, Delta("a")), (2, Delta("b"))]] * 6

    # Readers that are called ------------------------------------------------------------------------------------------

    async def test_a_reader_is_handed_what_is_there_and_what_comes(self, log: StreamLog) -> None:
        log.open(ANSWER)
        log.append(ANSWER, [Delta("a"), Delta("b")])
        reader = Recording()
        pushing = asyncio.ensure_future(log.push(ANSWER, reader, after=reader.after))
        await asyncio.sleep(0)

        log.append(ANSWER, [Delta("c")])
        log.append(ANSWER, [Done(), FullText("abc")])
        log.close(ANSWER)

        assert await asyncio.wait_for(pushing, SOON)
        assert reader.taken == list(enumerate([Delta("a"), Delta("b"), Delta("c"), Done(), FullText("abc")], 1))

    @pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
    async def test_a_reader_is_handed_nothing_that_it_has(self, log: StreamLog, after: int) -> None:
        log.open(ANSWER)
        log.append(ANSWER, [Delta("a"), Delta("b")])
        reader = Recording(after=after)
        pushing = asyncio.ensure_future(log.push(ANSWER, reader, after=reader.after))
        await asyncio.sleep(0)

        log.append(ANSWER, [Delta("c"), Delta("d")])
        log.append(ANSWER, [Delta("e")])
        log.close(ANSWER)

        await asyncio.wait_for(pushing, SOON)
        assert [number for number, _ in reader.taken] == list(range(after + 1, 6))

    async def test_a_reader_that_has_enough_is_left_alone_until_it_asks_again(self, log: StreamLog) -> None:
        log.open(ANSWER)
        log.append(ANSWER, [Delta("a")])
        reader = Recording(at_once=1)
        await asyncio.wait_for(log.push(ANSWER, reader, after=reader.after), SOON)

        log.append(ANSWER, [Delta("b")])
        log.append(ANSWER, [Delta("c")])
        first = list(reader.taken)
        await asyncio.wait_for(log.push(ANSWER, reader, after=reader.after), SOON)

        assert first == [(1, Delta("a"))]
        assert reader.taken == [(1, Delta("a")), (2, Delta("b")), (3, Delta("c"))]

    async def test_a_reader_that_fails_harms_nobody_else(self, log: StreamLog) -> None:
        log.open(ANSWER)
        failing, reader = Recording(at_once=-1), Recording()
        pushing = [asyncio.ensure_future(log.push(ANSWER, each, after=0)) for each in (failing, reader)]
        await asyncio.sleep(0)

        log.append(ANSWER, [Delta("a")])
        log.append(ANSWER, [Delta("b")])
        log.close(ANSWER)

        outcomes = await asyncio.wait_for(asyncio.gather(*pushing, return_exceptions=True), SOON)
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, bool]
        assert reader.taken == [(1, Delta("a")), (2, Delta("b"))]

    async def test_a_reader_that_leaves_takes_nothing_more(self, log: StreamLog) -> None:
        log.open(ANSWER)
        leaving, staying = Recording(), Recording()
        pushing = [asyncio.ensure_future(log.push(ANSWER, each, after=0)) for each in (leaving, staying)]
        await asyncio.sleep(0)

        pushing[0].cancel()
        await asyncio.wait([pushing[0]], timeout=SOON)
        log.append(ANSWER, [Delta("a")])
        log.close(ANSWER)
        await asyncio.wait_for(pushing[1], SOON)

        assert (leaving.taken, staying.taken) == ([], [(1, Delta("a"))])

    async def test_a_reader_is_handed_nothing_from_before_the_start_of_a_log(self, log: StreamLog) -> None:
        log.open(ANSWER, after=100)
        early, reader = Recording(after=99), Recording(after=100)
        pushing = asyncio.ensure_future(log.push(ANSWER, reader, after=reader.after))
        await asyncio.sleep(0)

        log.append(ANSWER, [Delta("a")])
        with pytest.raises(AnswerNotFound):
            await asyncio.wait_for(log.push(ANSWER, early, after=early.after), SOON)
        log.close(ANSWER)

        await asyncio.wait_for(pushing, SOON)
        assert reader.taken == [(101, Delta("a"))]

    async def test_nothing_is_pushed_from_an_unknown_log(self, log: StreamLog) -> None:
        with pytest.raises(AnswerNotFound):
            await log.push(ANSWER, Recording(), after=0)


class Recording:
    """A `LogReader` that keeps what it takes, `at_once` events and then no more until it is asked again.

    With `at_once` below zero it fails.
    """

    def __init__(self, *, after: int = 0, at_once: int | None = None) -> None:
        self.after = after
        self.taken: list[NumberedEvent] = []
        self._at_once = at_once

    def take(self, events: Sequence[NumberedEvent]) -> bool:
        if self._at_once is not None and self._at_once < 0:
            raise ZeroDivisionError
        self.taken += events
        self.after = events[-1][0]
        return self._at_once is not None and len(self.taken) >= self._at_once


def written(log: StreamLog, answer: AnswerId, events: Sequence[AnswerEvent]) -> None:
    log.open(answer)
    log.append(answer, events)
    log.close(answer)


@asynccontextmanager
async def reading(log: StreamLog) -> AsyncIterator[AsyncIterator[Sequence[NumberedEvent]]]:
    """Follow `ANSWER`, and close what was opened."""
    batches = log.follow(ANSWER)
    try:
        yield batches
    finally:
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()


async def batches_of(following: AsyncIterator[Sequence[NumberedEvent]]) -> list[Sequence[NumberedEvent]]:
    return [batch async for batch in following]


async def followed(log: StreamLog, answer: AnswerId, *, after: int = 0) -> list[NumberedEvent]:
    async with asyncio.timeout(SOON):
        batches = await batches_of(log.follow(answer, after=after))
    return [event for batch in batches for event in batch]
