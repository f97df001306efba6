"""What every adapter of `AnswerJournal` keeps."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from llm_backend.application.ports.answer_journal import Part
from llm_backend.domain.answers import (
    AnswerState,
    Delta,
    Done,
    Failed,
    FullText,
)
from llm_backend.domain.conversations import Message, MessageState, Role, Seam, TokenUsage
from llm_backend.domain.errors import AnswerInProgress, AnswerNotFound, ConversationNotFound, IdempotencyMismatch
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.testing.builders import (
    NOON,
    a_citation,
    a_conversation,
    a_key,
    a_message,
    a_reply,
    a_turn,
    a_user,
    an_answer,
)
from llm_backend.testing.contracts.answer_events import (
    HUNDRED,
    TEN,
    AnswerEventsContract,
    given_a_conversation,
    last_number,
    messages,
    numbered,
)
from llm_backend.testing.contracts.store import ALICE, BOB, ODD_TEXTS, Store, given


class AnswerJournalContract(AnswerEventsContract):
    """Turns begin and end once, events are kept in order, and nobody writes late. Needs the fixture `store`."""

    # Beginning -------------------------------------------------------------------------------------------------------

    async def test_a_begun_turn_has_its_question_and_a_running_answer(self, store: Store) -> None:
        await given_a_conversation(store)

        answer = await store.journal.begin(a_turn(100, text="What?"))

        assert answer == HUNDRED
        assert await messages(store) == [a_message(1, "What?")]
        assert await last_number(store) == 1
        assert await store.journal.find(ALICE, HUNDRED) == an_answer(100)
        assert await store.journal.latest(ALICE, TEN) == an_answer(100)

    @pytest.mark.parametrize("text", ODD_TEXTS)
    async def test_odd_questions_and_answers_come_back_unchanged(self, store: Store, text: str) -> None:
        await given_a_conversation(store)

        await store.journal.begin(a_turn(100, text=text))
        await store.journal.finish(HUNDRED, 1, [Delta(text), FullText(text)], a_reply(2, text))

        assert await messages(store) == [a_message(1, text), a_reply(2, text)]
        assert list(await store.journal.events(HUNDRED)) == numbered(1, [Delta(text), FullText(text)])

    async def test_nobody_begins_in_a_conversation_of_somebody_else(self, store: Store) -> None:
        await given_a_conversation(store)

        for turn in (a_turn(100, owner=2), a_turn(100, owner=3), a_turn(100, conversation=99)):
            with pytest.raises(ConversationNotFound):
                await store.journal.begin(turn)

        assert await messages(store) == []
        assert not await store.leases.open_answers()

    async def test_only_one_answer_runs_in_a_conversation(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100, question=1))

        for question in (1, 2, 3):
            with pytest.raises(AnswerInProgress):
                await store.journal.begin(a_turn(101, question=question))

        assert await messages(store) == [a_message(1)]
        assert await last_number(store) == 1
        assert await store.journal.latest(ALICE, TEN) == an_answer(100)

    @pytest.mark.parametrize("question", [1, 2])
    async def test_a_number_that_is_taken_is_refused(self, store: Store, question: int) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.finish(HUNDRED, 1, [], a_reply(2))

        with pytest.raises(AnswerInProgress):
            await store.journal.begin(a_turn(101, question=question))

        assert await last_number(store) == 2
        await store.journal.begin(a_turn(101, question=3))

    async def test_of_ten_equal_questions_one_is_accepted(self, store: Store) -> None:
        await given_a_conversation(store)

        outcomes = await asyncio.gather(
            *(store.journal.begin(a_turn(100 + n)) for n in range(10)), return_exceptions=True
        )

        won = [outcome for outcome in outcomes if isinstance(outcome, int)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, AnswerInProgress)]
        assert (len(won), len(lost)) == (1, 9)
        assert await messages(store) == [a_message(1)]
        assert [found.answer.id for found in await store.leases.open_answers()] == won

    async def test_a_refused_turn_does_not_harm_those_beside_it(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in range(10, 20)))
        turns = [a_turn(100 + n, conversation=10 + n, owner=2 if n % 2 else 1) for n in range(10)]

        outcomes = await asyncio.gather(*(store.journal.begin(turn) for turn in turns), return_exceptions=True)

        accepted = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert accepted == [100, 102, 104, 106, 108]
        assert all(isinstance(outcome, ConversationNotFound) for outcome in outcomes[1::2])
        assert [len(await messages(store, number)) for number in range(10, 20)] == [1, 0] * 5

    # Idempotency -----------------------------------------------------------------------------------------------------

    async def test_a_repeated_request_gets_the_answer_of_the_first(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100, idempotency=a_key()))

        while_it_runs = await store.journal.begin(a_turn(101, idempotency=a_key()))
        await store.journal.finish(HUNDRED, 1, [], a_reply(2))
        when_it_has_ended = await store.journal.begin(a_turn(102, question=3, idempotency=a_key()))

        assert while_it_runs == when_it_has_ended == HUNDRED
        assert len(await messages(store)) == 2
        assert await store.journal.answer_for(ALICE, a_key()) == HUNDRED

    async def test_another_request_under_the_same_key_is_refused(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100, idempotency=a_key("key", "print")))

        with pytest.raises(IdempotencyMismatch):
            await store.journal.begin(a_turn(101, idempotency=a_key("key", "another")))
        with pytest.raises(IdempotencyMismatch):
            await store.journal.answer_for(ALICE, a_key("key", "another"))

        assert len(await messages(store)) == 1

    async def test_a_key_recorded_by_a_unit_of_work_stands_for_another_request(self, store: Store) -> None:
        await given_a_conversation(store)
        async with store.transactions() as work:
            await work.idempotency.record(ALICE, a_key("key", "creation"), "10", at=NOON)
            await work.commit()

        with pytest.raises(IdempotencyMismatch):
            await store.journal.begin(a_turn(100, idempotency=a_key("key", "question")))

    async def test_a_key_of_a_turn_is_seen_by_a_unit_of_work(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100, idempotency=a_key()))

        async with store.transactions() as work:
            assert await work.idempotency.outcome(ALICE, a_key()) == "100"

    async def test_keys_of_others_are_other_keys(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100, idempotency=a_key()))

        await store.journal.begin(a_turn(200, owner=2, conversation=20, idempotency=a_key()))

        assert await store.journal.answer_for(ALICE, a_key()) == 100
        assert await store.journal.answer_for(BOB, a_key()) == 200
        assert await store.journal.answer_for(UserId(3), a_key()) is None

    async def test_of_ten_equal_requests_all_get_one_answer(self, store: Store) -> None:
        await given_a_conversation(store)

        answers = await asyncio.gather(*(store.journal.begin(a_turn(100 + n, idempotency=a_key())) for n in range(10)))

        assert len(set(answers)) == 1
        assert len(await messages(store)) == 1

    async def test_a_refused_turn_leaves_no_key_behind(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))

        with pytest.raises(AnswerInProgress):
            await store.journal.begin(a_turn(101, idempotency=a_key()))

        assert await store.journal.answer_for(ALICE, a_key()) is None

    async def test_a_forgotten_key_is_new_again(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100, idempotency=a_key()))

        async with store.transactions() as work:
            await work.idempotency.forget_before(NOON + timedelta(days=1))
            await work.commit()

        assert await store.journal.answer_for(ALICE, a_key()) is None

    # Ending ----------------------------------------------------------------------------------------------------------

    async def test_a_finished_turn_has_its_message_and_takes_the_next_question(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))

        finished = await store.journal.finish(HUNDRED, 1, [Delta("Hi"), Done(), FullText("Hi")], a_reply(2, "Hi"))

        assert finished
        assert await messages(store) == [a_message(1), a_reply(2, "Hi")]
        assert await last_number(store) == 2
        assert await store.journal.find(ALICE, HUNDRED) == an_answer(100, state=AnswerState.COMPLETE)
        assert not await store.leases.open_answers()
        await store.journal.begin(a_turn(101, question=3))
        assert await store.journal.latest(ALICE, TEN) == an_answer(101, number=4)

    async def test_a_finished_message_comes_back_whole(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        message = Message(
            number=2,
            role=Role.ASSISTANT,
            text="部分 👩",
            state=MessageState.INCOMPLETE,
            reason="upstream_cut_off",
            model="gpt-x",
            usage=TokenUsage(prompt=0, completion=7, cached=5, reasoning=6),
            citations=(a_citation(1), a_citation(2, quote="第二", file="file-1")),
            seams=(Seam(at=0, model="gpt-y", reason="upstream_unavailable"), Seam(at=2, model="模型", reason="x")),
            created_at=datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
        )

        await store.journal.finish(HUNDRED, 1, [Failed("upstream_cut_off", "cut")], message)

        assert (await messages(store))[1] == message
        assert await store.journal.find(ALICE, HUNDRED) == an_answer(100, state=AnswerState.INCOMPLETE)

    async def test_what_has_ended_cannot_be_written_to(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.finish(HUNDRED, 1, [Delta("Hi")], a_reply(2, "Hi"))

        await store.journal.checkpoint([Part(HUNDRED, 2, [Delta("late")])])
        finished = await store.journal.finish(HUNDRED, 2, [Delta("late")], a_reply(2, "late"))
        await store.journal.withdraw(HUNDRED)

        assert not finished
        assert await messages(store) == [a_message(1), a_reply(2, "Hi")]
        assert list(await store.journal.events(HUNDRED)) == [(1, Delta("Hi"))]

    async def test_an_end_whose_word_was_lost_may_come_again(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("H")])])  # the word of this was lost as well

        ends = [await store.journal.finish(HUNDRED, 1, [Delta("H"), Delta("i")], a_reply(2, "Hi")) for _ in range(2)]

        assert ends == [True, True]
        assert await messages(store) == [a_message(1), a_reply(2, "Hi")]
        assert list(await store.journal.events(HUNDRED)) == [(1, Delta("H")), (2, Delta("i"))]

    async def test_what_is_gone_cannot_be_written_to(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])

        async with store.transactions() as work:
            await work.conversations.remove(ALICE, TEN)
            await work.commit()
        await store.journal.checkpoint([Part(HUNDRED, 2, [Delta("late")])])
        finished = await store.journal.finish(HUNDRED, 2, [Delta("late")], a_reply(2))
        await store.journal.withdraw(HUNDRED)

        assert not finished
        assert not await store.journal.events(HUNDRED)
        assert not await store.leases.open_answers()
        with pytest.raises(ConversationNotFound):
            await messages(store)

    async def test_of_two_who_finish_at_once_one_does(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))

        outcomes = await asyncio.gather(
            *(store.journal.finish(HUNDRED, 1, [Delta(text)], a_reply(2, text)) for text in ("one", "two"))
        )

        assert sorted(outcomes) == [False, True]
        winner = ("one", "two")[outcomes.index(True)]
        assert (await messages(store))[1] == a_reply(2, winner)
        assert list(await store.journal.events(HUNDRED)) == [(1, Delta(winner))]

    async def test_a_withdrawn_turn_never_was(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(99))
        await store.journal.finish(AnswerId(99), 1, [], a_reply(2))
        await store.journal.begin(a_turn(100, question=3, idempotency=a_key()))

        await store.journal.withdraw(HUNDRED)
        await store.journal.withdraw(HUNDRED)

        assert await messages(store) == [a_message(1), a_reply(2)]
        assert await last_number(store) == 2
        with pytest.raises(AnswerNotFound):
            await store.journal.find(ALICE, HUNDRED)
        assert await store.journal.latest(ALICE, TEN) == an_answer(99, state=AnswerState.COMPLETE)
        assert await store.journal.answer_for(ALICE, a_key()) is None
        assert await store.journal.begin(a_turn(101, question=3, idempotency=a_key())) == 101

    # Looking ---------------------------------------------------------------------------------------------------------

    async def test_an_answer_of_somebody_else_looks_absent(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))

        for stranger, answer in [(BOB, HUNDRED), (UserId(3), HUNDRED), (ALICE, AnswerId(101))]:
            with pytest.raises(AnswerNotFound):
                await store.journal.find(stranger, answer)
        for stranger, conversation in [(BOB, TEN), (UserId(3), TEN), (ALICE, ConversationId(11))]:
            with pytest.raises(ConversationNotFound):
                await store.journal.latest(stranger, conversation)

    async def test_a_new_conversation_has_no_latest_answer(self, store: Store) -> None:
        await given_a_conversation(store)

        assert await store.journal.latest(ALICE, TEN) is None

    # Many at once ----------------------------------------------------------------------------------------------------

    async def test_a_thousand_turns_at_once(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in range(1, 1001)))

        async def take_a_turn(number: int) -> bool:
            await store.journal.begin(a_turn(10_000 + number, conversation=number, text=f"question {number}"))
            await store.journal.checkpoint([Part(AnswerId(10_000 + number), 1, [Delta(f"answer {number}")])])
            return await store.journal.finish(AnswerId(10_000 + number), 2, [Done()], a_reply(2, f"answer {number}"))

        finished = await asyncio.gather(*(take_a_turn(number) for number in range(1, 1001)))

        assert all(finished)
        for number in (1, 500, 1000):
            assert await messages(store, number) == [a_message(1, f"question {number}"), a_reply(2, f"answer {number}")]
            events = list(await store.journal.events(AnswerId(10_000 + number)))
            assert events == [(1, Delta(f"answer {number}")), (2, Done())]
        assert not await store.leases.open_answers()

    async def test_turns_and_units_of_work_do_not_starve_each_other(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in range(1, 101)))

        turns = [store.journal.begin(a_turn(10_000 + number, conversation=number)) for number in range(1, 101)]
        creations = [given(store, a_conversation(number)) for number in range(1001, 1021)]
        await asyncio.gather(*turns, *creations)

        assert len(await store.leases.open_answers()) == 100
        assert len(await store.conversation_views.summaries(ALICE)) == 120
