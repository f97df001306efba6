"""A database that is away when an answer comes to its end: readers hear of it, and miss nothing when they come back."""

import asyncio
import math
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from llm_backend.application.answer_keeping import NEWS
from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.answering import FollowAnswer
from llm_backend.application.ports.answer_journal import AnswerJournal, NumberedEvent
from llm_backend.application.ports.chat_model import ChatRequest
from llm_backend.application.usage import RecordUsage
from llm_backend.domain.answers import AnswerEvent, Delta, Done, FullText
from llm_backend.domain.errors import DatabaseUnavailable, DomainError, StorageFull, Unavailable
from llm_backend.domain.ids import WriterId
from llm_backend.domain.usage import PriceTable
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.testing.builders import a_reply, a_turn
from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.contracts.answer_events import HUNDRED, given_a_conversation
from llm_backend.testing.contracts.store import ALICE
from llm_backend.testing.contracts.stream_log import Recording
from llm_backend.testing.faults import Faults
from llm_backend.testing.scripted_chat_model import ScriptedChatModel

SOON = 10  # seconds; what takes longer hangs
OTHER = WriterId("other")
ENDING: list[AnswerEvent] = [Done(), FullText("some text")]
REQUEST = ChatRequest(model="m", turns=())
DELTAS = [(1, Delta("some ")), (2, Delta("text"))]


class Hanging:
    """A journal that takes the end of no answer, and never says so."""

    def __init__(self, journal: AnswerJournal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> object:
        return getattr(self._journal, name)

    async def finish(self, *_: object) -> bool:
        await asyncio.Event().wait()
        return False


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await given_a_conversation(store)
    return store


def a_runner(
    store: MemoryStore, journal: object, *, held: bool = False, monotonic: Callable[[], float] = time.monotonic
) -> AnswerRunner:
    """With `held`, nothing is told before the end, as others may take this process for dead."""
    return AnswerRunner(
        model=ScriptedChatModel("some ", "text"),
        journal=journal,  # type: ignore[arg-type]
        leases=store.leases,
        log=MemoryStreamLog(),
        now=ManualClock(),
        record=RecordUsage(log=store.usage, prices=PriceTable(), now=ManualClock(), ids=CountingIds()),
        store_patience=timedelta(0),
        monotonic=monotonic,
        hands_over=held,
        alive_at=lambda: -math.inf if held else math.inf,
    )


def following(store: MemoryStore, runner: AnswerRunner) -> FollowAnswer:
    return FollowAnswer(store.journal, runner.log, runner, poll_every=timedelta(milliseconds=1))


async def told(follow: FollowAnswer, *, after: int = 0) -> tuple[list[NumberedEvent], DomainError | None]:
    """What one reader hears, and how it is cut off."""
    events: list[NumberedEvent] = []
    try:
        async with asyncio.timeout(SOON):
            async for batch in follow(ALICE, HUNDRED, after=after):
                events += batch
    except DomainError as error:
        return events, error
    return events, None


async def pushed(follow: FollowAnswer) -> tuple[list[NumberedEvent], DomainError | None]:
    """The same for a reader that is called."""
    reader = Recording()
    try:
        async with asyncio.timeout(SOON):
            await follow.push(ALICE, HUNDRED, reader)
    except DomainError as error:
        return reader.taken, error
    return reader.taken, None


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("error", [DatabaseUnavailable, StorageFull])
async def test_an_end_that_cannot_be_stored_takes_no_number_from_what_comes_after_it(
    store: MemoryStore, error: type[DomainError], held: bool
) -> None:
    faults = Faults(error=error, only={"finish"}, lasting=True)
    async with a_runner(store, faults.wrap(store.journal), held=held) as runner:
        follow = following(store, runner)
        await runner.begin(a_turn(100), REQUEST)
        first, called, late = *await asyncio.gather(told(follow), pushed(follow)), await told(follow)

        faults.lasting = False

    assert first == called == late
    events, trouble = first
    assert events == ([] if held else DELTAS)
    assert isinstance(trouble, error)
    rest, trouble = await told(follow, after=len(events))
    assert trouble is None
    assert [*events, *rest] == list(await store.journal.events(HUNDRED))
    assert rest[-1][1] == FullText("some text")


async def test_a_failure_that_nobody_repairs_here_is_told_to_those_who_were_there(store: MemoryStore) -> None:
    """Whoever comes later is told what the journal says: another process may have the answer by then."""
    faults = Faults(error=ZeroDivisionError, only={"finish"})
    now = 0.0
    async with a_runner(store, faults.wrap(store.journal), monotonic=lambda: now) as runner:
        follow = following(store, runner)
        await runner.begin(a_turn(100), REQUEST)
        events, trouble = await told(follow)
        now += NEWS.total_seconds()
        later = asyncio.create_task(told(follow, after=2))

        await store.leases.release(HUNDRED)
        await store.leases_of(OTHER).take_over(HUNDRED, None, last_beat=None)
        await store.journal_of(OTHER).finish(HUNDRED, 3, ENDING, a_reply(2, "some text"))
        rest = await later

    assert events == DELTAS
    assert isinstance(trouble, Unavailable)
    assert rest == (list(enumerate(ENDING, 3)), None)


@pytest.mark.timeout(30)
async def test_no_attempt_outlasts_the_patience(store: MemoryStore) -> None:
    runner = a_runner(store, Hanging(store.journal))
    await runner.begin(a_turn(100), REQUEST)

    events, trouble = await told(following(store, runner))

    assert events == DELTAS
    assert isinstance(trouble, DatabaseUnavailable)
