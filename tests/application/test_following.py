"""Following an answer wherever it is written: by the log, and where the log knows nothing by the journal."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.answering import FollowAnswer
from llm_backend.application.ports.answer_journal import NumberedEvent, Part
from llm_backend.application.usage import RecordUsage
from llm_backend.domain.answers import INTERRUPTION_GAP, AnswerEvent, Delta, Done, Failed, FullText
from llm_backend.domain.errors import AnswerNotFound
from llm_backend.domain.usage import PriceTable
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.testing.builders import a_reply, a_turn
from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.contracts.answer_events import HUNDRED, given_a_conversation
from llm_backend.testing.contracts.store import ALICE, BOB
from llm_backend.testing.contracts.stream_log import Recording
from llm_backend.testing.scripted_chat_model import ScriptedChatModel

SOON = 5  # seconds; what takes longer hangs
ENDING: list[AnswerEvent] = [Done(), FullText("ab")]


@pytest.fixture
async def store() -> MemoryStore:
    """Of two replicas: a turn was begun on the other one."""
    store = MemoryStore()
    await given_a_conversation(store)
    await store.journal.begin(a_turn(100))
    return store


@pytest.fixture
def log() -> MemoryStreamLog:
    return MemoryStreamLog()


@pytest.fixture
def follow(store: MemoryStore, log: MemoryStreamLog, model: ScriptedChatModel, clock: ManualClock) -> FollowAnswer:
    record = RecordUsage(log=store.usage, prices=PriceTable(), now=clock, ids=CountingIds())
    runner = AnswerRunner(model=model, journal=store.journal, leases=store.leases, log=log, now=clock, record=record)
    return FollowAnswer(store.journal, log, runner, poll_every=timedelta(milliseconds=1))


async def all_of(batches: AsyncIterator[Sequence[NumberedEvent]]) -> list[NumberedEvent]:
    async with asyncio.timeout(SOON):
        return [event async for batch in batches for event in batch]


async def test_an_answer_of_another_replica_is_followed_by_the_journal(
    store: MemoryStore, follow: FollowAnswer
) -> None:
    batches = follow(ALICE, HUNDRED)
    seen: list[NumberedEvent] = []

    for number, letter in enumerate("ab", 1):
        await store.journal.checkpoint([Part(HUNDRED, number, [Delta(letter)])])
        seen += await asyncio.wait_for(anext(batches), SOON)
    await store.journal.finish(HUNDRED, 3, ENDING, a_reply(2, "ab"))
    seen += await all_of(batches)

    assert seen == list(enumerate([Delta("a"), Delta("b"), *ENDING], 1))


@pytest.mark.parametrize("after", range(6))
async def test_it_is_resumed_after_any_number(store: MemoryStore, follow: FollowAnswer, after: int) -> None:
    everything = [Delta("a"), Delta("b"), *ENDING]
    await store.journal.finish(HUNDRED, 1, everything, a_reply(2, "ab"))

    assert await all_of(follow(ALICE, HUNDRED, after=after)) == list(enumerate(everything, 1))[after:]


async def test_an_answer_that_is_taken_over_is_read_from_the_journal_first(
    store: MemoryStore, log: MemoryStreamLog, follow: FollowAnswer
) -> None:
    await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
    log.open(HUNDRED, after=100)
    log.append(HUNDRED, [Delta("b"), *ENDING])
    log.close(HUNDRED)

    seen = await all_of(follow(ALICE, HUNDRED))

    assert seen == [(1, Delta("a")), (101, Delta("b")), (102, ENDING[0]), (103, ENDING[1])]


async def test_who_follows_the_journal_goes_over_to_the_log_when_the_answer_is_taken_over(
    store: MemoryStore, log: MemoryStreamLog, follow: FollowAnswer
) -> None:
    await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
    batches = follow(ALICE, HUNDRED)
    seen = list(await asyncio.wait_for(anext(batches), SOON))

    log.open(HUNDRED, after=1 + INTERRUPTION_GAP)
    log.append(HUNDRED, [Delta("b"), *ENDING])
    log.close(HUNDRED)
    seen += await all_of(batches)

    assert [event for _, event in seen] == [Delta("a"), Delta("b"), *ENDING]


async def test_a_reader_who_saw_more_than_was_stored_goes_on_where_the_new_writer_begins(
    log: MemoryStreamLog, follow: FollowAnswer
) -> None:
    log.open(HUNDRED, after=INTERRUPTION_GAP)
    log.append(HUNDRED, [Failed("interrupted", "Interrupted")])
    log.close(HUNDRED)

    seen = await all_of(follow(ALICE, HUNDRED, after=57))

    assert [number for number, _ in seen] == [INTERRUPTION_GAP + 1]


async def test_a_log_that_ends_before_the_answer_does_is_not_the_end(
    store: MemoryStore, log: MemoryStreamLog, follow: FollowAnswer
) -> None:
    log.open(HUNDRED)
    log.append(HUNDRED, [Delta("a")])
    log.close(HUNDRED)  # handed over
    batches = follow(ALICE, HUNDRED)
    seen = list(await asyncio.wait_for(anext(batches), SOON))

    await store.journal.finish(HUNDRED, 1, [Delta("a"), Delta("b"), *ENDING], a_reply(2, "ab"))
    seen += await all_of(batches)

    assert seen == list(enumerate([Delta("a"), Delta("b"), *ENDING], 1))


async def test_an_answer_that_is_withdrawn_elsewhere_ends_without_a_word(
    store: MemoryStore, follow: FollowAnswer
) -> None:
    following = asyncio.ensure_future(all_of(follow(ALICE, HUNDRED)))
    await asyncio.sleep(0)

    await store.journal.withdraw(HUNDRED)

    assert await following == []


async def test_an_answer_of_somebody_else_is_not_found_at_the_first_step(follow: FollowAnswer) -> None:
    with pytest.raises(AnswerNotFound):
        await anext(follow(BOB, HUNDRED))


# Readers that are called ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(6))
async def test_a_reader_that_is_called_gets_the_same(store: MemoryStore, follow: FollowAnswer, after: int) -> None:
    reader = Recording(after=after)
    pushing = asyncio.ensure_future(follow.push(ALICE, HUNDRED, reader))
    await asyncio.sleep(0)

    await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
    await store.journal.finish(HUNDRED, 2, [Delta("b"), *ENDING], a_reply(2, "ab"))
    await asyncio.wait_for(pushing, SOON)

    assert reader.taken == list(enumerate([Delta("a"), Delta("b"), *ENDING], 1))[after:]


async def test_a_reader_that_is_called_goes_over_to_the_log_when_the_answer_is_taken_over(
    store: MemoryStore, log: MemoryStreamLog, follow: FollowAnswer
) -> None:
    await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
    log.open(HUNDRED, after=100)
    log.append(HUNDRED, [Delta("b"), *ENDING])
    log.close(HUNDRED)
    reader = Recording()

    await asyncio.wait_for(follow.push(ALICE, HUNDRED, reader), SOON)

    assert reader.taken == [(1, Delta("a")), (101, Delta("b")), (102, ENDING[0]), (103, ENDING[1])]


async def test_a_reader_that_has_enough_for_now_goes_on_where_it_was(store: MemoryStore, follow: FollowAnswer) -> None:
    await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
    reader = Recording(at_once=1)
    await asyncio.wait_for(follow.push(ALICE, HUNDRED, reader), SOON)

    await store.journal.finish(HUNDRED, 2, [Delta("b"), *ENDING], a_reply(2, "ab"))
    await asyncio.wait_for(follow.push(ALICE, HUNDRED, reader), SOON)

    assert [event for _, event in reader.taken] == [Delta("a"), Delta("b"), *ENDING]
