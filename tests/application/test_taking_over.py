"""Answers whose process is gone: two processes in one, over the same memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from llm_backend.application.answer_runner import AnswerRunner
from llm_backend.application.answering import FollowAnswer, SendMessage, StopAnswer
from llm_backend.application.composing import ComposeRequest
from llm_backend.application.composing_responses import ComposeResponse
from llm_backend.application.heartbeat import MISSES, Heartbeat
from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.chat_model import ChatRequest, ChatTurn
from llm_backend.application.taking_over import MOST_TAKEOVERS, TakeOverAnswers
from llm_backend.application.usage import RecordUsage, ReportUsage
from llm_backend.domain.answers import INTERRUPTION_GAP, Delta, Failed, FullText, is_last
from llm_backend.domain.conversations import Message, MessageState, Role, Seam
from llm_backend.domain.ids import AnswerId, ApiKeyId, ConversationId, WriterId
from llm_backend.domain.prompting import Grounding
from llm_backend.domain.usage import PriceTable, UsageGroup
from llm_backend.infrastructure.memory.stop_signals import MemoryStopSignals
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.memory.stream_log import MemoryStreamLog
from llm_backend.infrastructure.security.ids import RandomIds
from llm_backend.infrastructure.security.key_ring import FixedKeyRing
from llm_backend.infrastructure.security.secret_box import AesGcmSecretBox
from llm_backend.testing.builders import a_conversation, a_source, a_turn, a_user
from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.contracts.store import ALICE, given
from llm_backend.testing.faults import Faults
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel

TEN = ConversationId(10)
SOON = 5.0


@dataclass(frozen=True)
class Replica:
    """One process, as far as answers are concerned. `die` ends it as a kill does."""

    model: ScriptedChatModel
    runner: AnswerRunner
    heartbeat: Heartbeat
    send: SendMessage
    follow: FollowAnswer
    stop: StopAnswer
    take_over: TakeOverAnswers

    async def read(self, answer: AnswerId, *, after: int = 0) -> list[NumberedEvent]:
        async with asyncio.timeout(SOON):
            return [event async for batch in self.follow(ALICE, answer, after=after) for event in batch]


@dataclass(frozen=True)
class Cluster:
    store: MemoryStore
    clock: ManualClock
    box: AesGcmSecretBox
    record: RecordUsage

    @asynccontextmanager
    async def replica(
        self,
        name: str,
        model: ScriptedChatModel,
        *,
        alone: bool = False,
        finishing: bool = True,
        heeds: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Replica]:
        journal, leases = self.store.journal_of(WriterId(name)), self.store.leases_of(WriterId(name))
        log, views, compose = MemoryStreamLog(), self.store.conversation_views, ComposeRequest(model, self.box)
        heartbeat = Heartbeat(leases=leases, alone=alone, every=timedelta(hours=1), monotonic=monotonic)
        runner = AnswerRunner(
            model=model,
            journal=journal,
            leases=leases,
            log=log,
            now=self.clock,
            record=self.record,
            checkpoint_every=timedelta(milliseconds=1),
            heed_every=timedelta(milliseconds=1) if heeds else timedelta(hours=1),
            grace=timedelta(0),
            hands_over=finishing,
            monotonic=monotonic,
            alive_at=lambda: heartbeat.alive_at,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(heartbeat)
            await stack.enter_async_context(runner)
            yield Replica(
                model=model,
                runner=runner,
                heartbeat=heartbeat,
                send=SendMessage(views, journal, runner, compose, RandomIds(), self.clock),
                follow=FollowAnswer(journal, log, runner, poll_every=timedelta(milliseconds=1)),
                stop=StopAnswer(journal, leases, runner, MemoryStopSignals(), poll_every=timedelta(milliseconds=1)),
                take_over=TakeOverAnswers(
                    journal,
                    leases,
                    log,
                    runner,
                    heartbeat,
                    views,
                    compose,
                    ComposeResponse(compose, self.store.response_views, views),
                    self.clock,
                    self.record,
                    finishing,
                ),
            )

    async def messages(self) -> Sequence[Message]:
        return (await self.store.conversation_views.thread(ALICE, TEN)).messages

    async def used(self) -> list[tuple[int, int, int]]:
        """Requests, tokens answered, and how many of these requests were estimated, of the one model."""
        sums = await ReportUsage(self.store.usage, self.record)(ALICE, UsageGroup.MODEL)
        return [(one.requests, one.completion, one.estimated) for one in sums]

    async def stored(self, answer: AnswerId, text: str) -> None:
        """Wait until the journal has that much."""
        async with asyncio.timeout(SOON):
            while _text(await self.store.journal.events(answer)) != text:  # noqa: ASYNC110 - memory tells nobody
                await asyncio.sleep(0)


@pytest.fixture
async def cluster() -> Cluster:
    store = MemoryStore()
    await given(store, a_user(1), a_user(2), a_conversation(10, model="gpt-x", api_key=None))
    clock = ManualClock()
    record = RecordUsage(log=store.usage, prices=PriceTable(), now=clock, ids=CountingIds())
    return Cluster(store, clock, AesGcmSecretBox(FixedKeyRing([bytes(32)], 32)), record)


async def dead(replica: Replica, *watched_by: Replica) -> None:
    """To the others it has given no sign of life for long enough. It is not told: it may only be slow."""
    for other in watched_by:
        for _ in range(4):
            await other.heartbeat.look()


def _text(events: Sequence[NumberedEvent]) -> str:
    return "".join(event.text for _, event in events if isinstance(event, Delta))


async def test_a_living_process_keeps_its_answers(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel()) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        for _ in range(5):
            await a.heartbeat.look()
            await b.heartbeat.look()

        taken = await b.take_over()

        assert taken == 0
        assert a.runner.is_writing(answer)


async def test_a_process_that_shows_itself_at_the_last_moment_keeps_its_answers(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel()) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await dead(a, b)
        await a.heartbeat.look()

        taken = await b.take_over()

        assert taken == 0
        assert a.runner.is_writing(answer)


async def test_the_answer_of_a_dead_process_is_finished_from_where_it_stopped(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", "two ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("one two three four")) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one two ")
        reading = asyncio.create_task(b.read(answer))
        await dead(a, b)

        taken = await b.take_over()
        events = await reading

        assert taken == 1
        assert _text(events) == "one two three four"
        assert isinstance(events[-1][1], FullText)
        numbers = [number for number, _ in events]
        assert numbers == sorted(set(numbers))
        assert numbers[2] == numbers[1] + INTERRUPTION_GAP
        question, reply = await cluster.messages()
        assert (question.text, reply.text, reply.state) == ("What?", "one two three four", MessageState.COMPLETE)
        assert reply.seams == (Seam(at=8, model="gpt-x", reason="interrupted"),)
        assert b.model.requests[0].so_far == "one two "
        assert [turn.text for turn in b.model.requests[0].turns] == ["What?"]


async def test_the_process_that_ends_an_answer_accounts_for_those_that_are_gone(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", "two ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("one two three four")) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one two ")
        await dead(a, b)
        await b.take_over()
        await b.read(answer)

    assert await cluster.used() == [(2, 2 + 1, 1)]  # eight characters as estimated, and what was counted of the rest


@pytest.mark.parametrize("finishing", [True, False])
async def test_the_key_by_which_an_answer_was_asked_for_is_charged_wherever_it_ends(
    cluster: Cluster, finishing: bool
) -> None:
    key = ApiKeyId("a key")
    async with (
        cluster.replica("a", ScriptedChatModel("one ", "two ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("one two three"), finishing=finishing) as b,
    ):
        turn = a_turn(100, key=key)
        request = ChatRequest(model="gpt-x", turns=[ChatTurn(role=Role.USER, text="Hello")])
        answer = await a.runner.begin(turn, request)
        await cluster.stored(answer, "one two ")
        await dead(a, b)
        await b.take_over()
        await b.read(answer)

    sums = await ReportUsage(cluster.store.usage, cluster.record)(ALICE, UsageGroup.KEY)
    assert {one.group for one in sums} == {key}


@pytest.mark.parametrize("finishing", [True, False])
async def test_what_was_handed_over_is_accounted_for_once(cluster: Cluster, finishing: bool) -> None:
    async with cluster.replica("a", ScriptedChatModel("one ", "two ", FOREVER)) as a:
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one two ")
    before = await cluster.used()
    async with cluster.replica("b", ScriptedChatModel("one two "), finishing=finishing) as b:
        await b.take_over()
        await b.read(answer)

    assert not before
    assert await cluster.used() == [(2, 2 + 1, 1) if finishing else (1, 2, 1)]


async def test_a_process_that_was_only_slow_writes_nothing_more(cluster: Cluster) -> None:
    go_on = asyncio.Event()
    async with (
        cluster.replica("a", ScriptedChatModel("one ", go_on, "late")) as a,
        cluster.replica("b", ScriptedChatModel("one two")) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        reading = asyncio.create_task(a.read(answer))
        await dead(a, b)
        await b.take_over()
        await b.read(answer)

        go_on.set()
        events = await reading

        assert [message.text for message in await cluster.messages()] == ["What?", "one two"]
        assert _text(events) == "one two"
        assert is_last(events[-1][1])


async def test_without_finishing_it_is_closed_with_its_text(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel(), alone=True, finishing=False) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")

        taken = await b.take_over()

        assert taken == 1
        reply = (await cluster.messages())[1]
        assert (reply.text, reply.state, reply.reason) == ("one ", MessageState.INCOMPLETE, "interrupted")
        events = await b.read(answer)
        assert events[-1] == (1 + INTERRUPTION_GAP, events[-1][1])
        assert isinstance(events[-1][1], Failed)


async def test_an_answer_at_which_processes_die_is_closed_in_the_end(cluster: Cluster) -> None:
    async with cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a:
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        holder = WriterId("a")
        for number in range(MOST_TAKEOVERS):
            await cluster.store.leases_of(WriterId(str(number))).take_over(answer, holder)
            holder = WriterId(str(number))

        async with cluster.replica("b", ScriptedChatModel("one two"), alone=True) as b:
            await b.take_over()

        assert (await cluster.messages())[1].state is MessageState.INCOMPLETE
        assert not b.model.requests


async def test_what_is_let_go_of_at_shutdown_goes_on_elsewhere_at_once(cluster: Cluster) -> None:
    async with cluster.replica("b", ScriptedChatModel("one two")) as b:
        async with cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a:
            answer = await a.send(ALICE, TEN, "What?")
            reading = asyncio.create_task(a.read(answer))
            await cluster.stored(answer, "one ")

        taken = await b.take_over()
        events = await reading

        assert taken == 1
        assert _text(events) == "one two"
        assert (await cluster.messages())[1].state is MessageState.COMPLETE


async def test_what_a_newcomer_writes_is_not_taken_from_it(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel()) as a,
        cluster.replica("b", ScriptedChatModel("one ", FOREVER)) as b,
    ):
        answer = await b.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")

        assert await a.take_over() == 0
        await a.heartbeat.look()
        assert await a.take_over() == 0


async def test_an_answer_is_stopped_wherever_it_is_written(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel()) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")

        stopped = await asyncio.wait_for(b.stop(ALICE, TEN), SOON)

        assert stopped
        assert a.model.cancelled == 1
        reply = (await cluster.messages())[1]
        assert (reply.text, reply.reason) == ("one ", "stopped")


async def test_what_is_wanted_to_stop_is_not_gone_on_with(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("one two"), alone=True) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        await cluster.store.leases_of(WriterId("a")).take_over(answer, WriterId("a"))
        await b.take_over.leases.want_stop(answer)

        await b.take_over()

        assert (await cluster.messages())[1].reason == "stopped"
        assert not b.model.requests


async def test_it_goes_on_resting_on_the_same_passages(cluster: Cluster) -> None:
    grounding = Grounding(instructions="Use [1].", sources=(a_source(1),))
    async with (
        cluster.replica("a", ScriptedChatModel("As it says ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("As it says [1].")) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?", grounding=grounding)
        await cluster.stored(answer, "As it says ")
        await dead(a, b)

        await b.take_over()
        await b.read(answer)

        assert b.model.requests[0].turns[0].text == "Use [1]."
        assert [one.number for one in (await cluster.messages())[1].citations] == [1]


async def test_a_conversation_that_is_deleted_elsewhere_ends_its_answer(cluster: Cluster) -> None:
    async with cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a:
        answer = await a.send(ALICE, TEN, "What?")
        reading = asyncio.create_task(a.read(answer))
        await cluster.stored(answer, "one ")

        async with cluster.store.transactions() as work:
            await work.conversations.remove(ALICE, TEN)
            await work.commit()
        events = await reading

        assert a.model.cancelled == 1
        assert events[-1][1] == Failed("conversation_not_found", str(events[-1][1].message))  # type: ignore[union-attr]
        assert not a.runner.is_writing(answer)


async def test_the_dead_are_forgotten_once_nothing_of_theirs_is_left(cluster: Cluster) -> None:
    await cluster.store.leases_of(WriterId("long dead")).beat()
    async with cluster.replica("b", ScriptedChatModel()) as b:
        for _ in range(4):
            await b.heartbeat.look()

        await b.take_over()

        assert set(await b.take_over.leases.beat()) == {WriterId("b")}


async def test_a_process_that_has_just_begun_is_not_taken_for_dead(cluster: Cluster) -> None:
    async with cluster.replica("b", ScriptedChatModel()) as b:
        await b.heartbeat.look()
        async with cluster.replica("a", ScriptedChatModel("one", FOREVER)) as a:
            answer = await a.send(ALICE, TEN, "What?")

            taken = [await b.take_over() for _ in range(5)]

            assert taken == [0] * 5
            assert a.runner.is_writing(answer)


async def test_one_that_was_never_seen_is_dead_after_some_looks(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("one two")) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        await cluster.store.leases_of(WriterId("gone at once")).take_over(answer, WriterId("a"))

        taken = [await b.take_over()]
        for _ in range(MISSES):
            await b.heartbeat.look()
            taken.append(await b.take_over())

        assert taken == [0] * MISSES + [1]


async def test_a_process_that_ends_takes_nothing_over(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("one two")) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        await dead(a, b)
        await b.runner.drain()

        taken = await b.take_over()

        assert taken == 0
        assert not b.model.requests


async def test_each_who_takes_over_numbers_where_nobody_has_been(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a,
        cluster.replica("c", ScriptedChatModel("one two")) as c,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        await cluster.store.leases_of(WriterId("b")).take_over(answer, WriterId("a"))  # and dies without a checkpoint
        for _ in range(MISSES + 1):
            await c.take_over()
            await c.heartbeat.look()

        await c.take_over()
        events = await c.read(answer)

        assert [number for number, _ in events][:2] == [1, 1 + 2 * INTERRUPTION_GAP]


async def test_one_that_cannot_be_taken_keeps_no_other_from_it(cluster: Cluster) -> None:
    await given(cluster.store, a_conversation(11, model="gpt-x", api_key=None))
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER)) as a,
        cluster.replica("b", ScriptedChatModel("one two")) as b,
    ):
        answers = [await a.send(ALICE, ConversationId(number), "What?") for number in (10, 11)]
        for answer in answers:
            await cluster.stored(answer, "one ")
        await dead(a, b)
        faults = Faults(error=ValueError, only=["events"])
        take_over = replace(b.take_over, journal=faults.wrap(b.take_over.journal))

        taken = await take_over()

        assert taken == 1


async def test_what_is_not_known_to_be_held_is_not_told(cluster: Cluster) -> None:
    """A process that was stopped for a while, and goes on where it was, finds its answer in other hands."""
    go_on, passed = asyncio.Event(), [0.0]
    model = ScriptedChatModel("one ", go_on, "two ", "three")
    async with (
        cluster.replica("a", model, heeds=False, monotonic=lambda: passed[0]) as a,
        cluster.replica("b", ScriptedChatModel("one two three")) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        reading = asyncio.create_task(a.read(answer))
        await dead(a, b)
        await b.take_over()
        await b.read(answer)

        passed[0] = 20.0
        go_on.set()
        events = await reading

        assert _text(events) == "one two three"


async def test_who_seems_dead_to_others_tells_nothing_though_it_sees_that_it_holds_its_answer(cluster: Cluster) -> None:
    """They may take it at any moment, and would not know of what was told since the last checkpoint."""
    go_on, passed = asyncio.Event(), [0.0]
    model = ScriptedChatModel("one ", go_on, "two ", FOREVER)
    async with cluster.replica("a", model, monotonic=lambda: passed[0]) as a, asyncio.timeout(SOON):
        answer = await a.send(ALICE, TEN, "What?")
        events = aiter(a.follow(ALICE, answer))
        told = [await anext(events)]

        passed[0] = 20.0
        go_on.set()
        await cluster.stored(answer, "one two ")
        rest = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.02)
        was_told = rest.done()
        await a.heartbeat.look()
        told.append(await rest)

        assert not was_told
        assert [_text(batch) for batch in told] == ["one ", "two "]


async def test_nothing_was_asked_if_the_process_ends_before_the_first_word(cluster: Cluster) -> None:
    async with cluster.replica("a", ScriptedChatModel(FOREVER)) as a:
        answer = await a.send(ALICE, TEN, "What?")
        reading = asyncio.create_task(a.read(answer))
        await a.model.asked()

    events = await reading
    assert [type(event) for _, event in events] == [Failed]
    assert not await cluster.messages()


async def test_stopping_what_was_lost_here_stops_it_where_it_is(cluster: Cluster) -> None:
    async with (
        cluster.replica("a", ScriptedChatModel("one ", FOREVER), heeds=False) as a,
        cluster.replica("b", ScriptedChatModel("one two", FOREVER)) as b,
    ):
        answer = await a.send(ALICE, TEN, "What?")
        await cluster.stored(answer, "one ")
        await dead(a, b)
        await b.take_over()

        stopped = await asyncio.wait_for(a.stop(ALICE, TEN), SOON)

        assert stopped
        reply = (await cluster.messages())[1]
        assert (reply.text, reply.reason) == ("one two", "stopped")
