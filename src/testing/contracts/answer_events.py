"""What every adapter of `AnswerJournal` keeps of the events. `AnswerJournalContract` includes it."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from llm_backend.application.ports.answer_journal import NumberedEvent, Part
from llm_backend.domain.answers import (
    INTERRUPTED,
    INTERRUPTION_GAP,
    AnswerEvent,
    AnswerState,
    CallPiece,
    Cited,
    Continued,
    Delta,
    Done,
    Failed,
    FullText,
)
from llm_backend.domain.conversations import Message, MessageState, Seam, TokenUsage
from llm_backend.domain.ids import AnswerId, ConversationId, DocumentId, UserId
from llm_backend.testing.builders import (
    NOON,
    a_citation,
    a_conversation,
    a_reply,
    a_turn,
    a_user,
)
from llm_backend.testing.contracts.store import ALICE, Store, given

TEN = ConversationId(10)
HUNDRED = AnswerId(100)


async def given_a_conversation(store: Store) -> None:
    await given(store, a_user(1), a_user(2), a_conversation(10, owner=1), a_conversation(20, owner=2))


async def messages(store: Store, conversation: int = 10, owner: UserId = ALICE) -> Sequence[Message]:
    return list((await store.conversation_views.thread(owner, ConversationId(conversation))).messages)


async def last_number(store: Store) -> int:
    return (await store.conversation_views.thread(ALICE, TEN)).conversation.last_number


def numbered(first: int, events: Sequence[AnswerEvent]) -> list[NumberedEvent]:
    return list(enumerate(events, first))


class AnswerEventsContract:
    """Events are kept in order and come back whole, until they are forgotten. Needs the fixture `store`."""

    async def test_every_kind_of_event_comes_back_whole(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        citation = a_citation(3, document="x' OR '1'='1", quote="引文 👩")
        events: list[AnswerEvent] = [
            Delta("你"),
            Delta(" \n"),
            Continued("好", Seam(at=3, model="模型", reason="upstream_cut_off")),
            CallPiece("", 0, '{"城', "call_1", "weather"),
            CallPiece("", 0, '市"}'),
            Cited((citation, a_citation(4, file="file-1"))),
            Cited(()),
            Done(TokenUsage(prompt=12, completion=34)),
            Done(TokenUsage(prompt=12, completion=34, cached=5, reasoning=6)),
            Done(),
            Done(None, "length", NOON.replace(microsecond=123456)),
            Failed("upstream_timeout", "It did not answer"),
            FullText("你 \n"),
        ]

        await store.journal.checkpoint([Part(HUNDRED, 1, events)])

        assert list(await store.journal.events(HUNDRED)) == numbered(1, events)

    async def test_events_of_several_checkpoints_follow_each_other(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        deltas = [Delta(str(n)) for n in range(1, 31)]

        for first in range(1, 31, 3):
            await store.journal.checkpoint([Part(HUNDRED, first, deltas[first - 1 : first + 2])])

        assert list(await store.journal.events(HUNDRED)) == numbered(1, deltas)

    @pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 5, 6, 7, 99])
    async def test_a_late_reader_gets_exactly_what_comes_after(self, store: Store, after: int) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a"), Delta("b"), Delta("c")])])
        await store.journal.finish(HUNDRED, 4, [Delta("d"), Done(), FullText("abcd")], a_reply(2, "abcd"))

        events = await store.journal.events(HUNDRED, after=after)

        assert [number for number, _ in events] == list(range(after + 1, 7))

    async def test_an_interruption_may_leave_a_gap(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
        number, failed = 1 + INTERRUPTION_GAP, Failed(INTERRUPTED, "It was cut")

        await store.journal.finish(HUNDRED, number, [failed], a_reply(2, "a", state=MessageState.INCOMPLETE))

        assert list(await store.journal.events(HUNDRED)) == [(1, Delta("a")), (number, failed)]
        assert list(await store.journal.events(HUNDRED, after=5)) == [(number, failed)]

    async def test_a_checkpoint_whose_word_was_lost_may_come_again_with_more(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
        await store.journal.checkpoint([Part(HUNDRED, 2, [Delta("b")])])

        await store.journal.checkpoint([Part(HUNDRED, 2, [Delta("b"), Delta("c")])])

        assert list(await store.journal.events(HUNDRED)) == [(1, Delta("a")), (2, Delta("b")), (3, Delta("c"))]

    async def test_a_checkpoint_of_nothing_is_nothing(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))

        await store.journal.checkpoint([Part(HUNDRED, 1, [])])
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])

        assert list(await store.journal.events(HUNDRED)) == [(1, Delta("a"))]

    async def test_an_unknown_answer_has_no_events(self, store: Store) -> None:
        await store.journal.checkpoint([Part(AnswerId(999), 1, [Delta("lost")])])

        assert not await store.journal.events(AnswerId(999))

    async def test_a_citation_without_a_page_comes_back_whole(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        citation = type(a_citation())(
            number=9, document=DocumentId("d"), document_name="n", start=3, end=4, page=None, quote="q", verified=False
        )

        await store.journal.finish(HUNDRED, 1, [Cited((citation,))], a_reply(2, citations=[citation]))

        assert (await messages(store))[1].citations == (citation,)
        assert list(await store.journal.events(HUNDRED)) == [(1, Cited((citation,)))]

    async def test_only_events_of_what_ended_before_are_forgotten(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in (10, 20, 30, 40)))
        for number, hours in [(10, 0), (20, 1), (30, 2)]:
            answer = AnswerId(number * 10)
            await store.journal.begin(a_turn(answer, conversation=number))
            await store.journal.checkpoint([Part(answer, 1, [Delta("a")])])
            await store.journal.finish(answer, 2, [Delta("b")], a_reply(2, created_at=NOON + timedelta(hours=hours)))
        await store.journal.begin(a_turn(400, conversation=40))
        await store.journal.checkpoint([Part(AnswerId(400), 1, [Delta("a")])])
        moment = NOON + timedelta(hours=1, minutes=30)

        forgotten = [await store.journal.forget_events_before(moment) for _ in range(2)]

        assert forgotten == [2, 0]
        kept = [len(await store.journal.events(AnswerId(number))) for number in (100, 200, 300, 400)]
        assert kept == [0, 0, 2, 1]
        assert len(await messages(store, 10)) == 2
        assert (await store.journal.find(ALICE, HUNDRED)).state is AnswerState.COMPLETE
