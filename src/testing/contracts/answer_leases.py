"""What every adapter of `AnswerLeases` keeps, and what the journal keeps of who holds an answer."""

import asyncio

from llm_backend.application.ports.answer_journal import Part
from llm_backend.application.ports.answer_leases import OpenAnswer
from llm_backend.domain.answers import AnswerState, Delta, Done
from llm_backend.domain.ids import AnswerId, ApiKeyId, WriterId
from llm_backend.domain.knowledge import Relevance
from llm_backend.domain.prompting import Grounding
from llm_backend.testing.builders import (
    a_conversation,
    a_message,
    a_reply,
    a_source,
    a_turn,
    a_user,
    an_answer,
)
from llm_backend.testing.contracts.answer_events import HUNDRED, given_a_conversation, messages
from llm_backend.testing.contracts.store import ALICE, Store, given

OTHER = WriterId("another process")
KEY = ApiKeyId("8a1c1d2e-0000-4000-8000-00000000000a")
THIRD = WriterId("a third one")
GROUNDING = Grounding(
    instructions="Use these.\n[1] 日本",
    sources=(a_source(1), a_source(2, text="x' OR '1'='1")),
    relevance=Relevance.LOW,
)


class AnswerLeasesContract:
    """One process at a time holds an answer, and only that one can write to it. Needs the fixture `store`."""

    # Who is alive ----------------------------------------------------------------------------------------------------

    async def test_signs_of_life_rise_and_are_seen_by_all(self, store: Store) -> None:
        other = store.leases_of(OTHER)

        first = await store.leases.beat()
        await other.beat()
        second = await store.leases.beat()
        seen = await other.beat()

        assert set(first) == {store.leases.me}
        assert second[store.leases.me] > first[store.leases.me]
        assert seen[store.leases.me] == second[store.leases.me]
        assert seen[OTHER] > second[OTHER]

    async def test_who_left_is_forgotten_and_may_come_back(self, store: Store) -> None:
        other = store.leases_of(OTHER)
        await store.leases.beat()
        await other.beat()

        await store.leases.leave(OTHER)
        await store.leases.leave(THIRD)
        without = await store.leases.beat()

        assert set(without) == {store.leases.me}
        assert OTHER in await other.beat()

    # Who holds what --------------------------------------------------------------------------------------------------

    async def test_open_answers_are_found_with_all_it_takes_to_go_on(self, store: Store) -> None:
        await given(
            store,
            a_user(1),
            a_user(2),
            a_conversation(10, model="gpt-x"),
            a_conversation(20, owner=2, model="glm-y"),
            a_conversation(30),
        )
        await store.journal.begin(a_turn(100, grounding=GROUNDING))
        await store.journal_of(OTHER).begin(a_turn(200, owner=2, conversation=20, key=KEY))
        await store.journal.begin(a_turn(300, conversation=30))
        await store.journal.finish(AnswerId(300), 1, [], a_reply(2))

        found = sorted(await store.leases.open_answers(), key=lambda each: each.answer.id)

        assert found == [
            OpenAnswer(answer=an_answer(100), model="gpt-x", writer=store.leases.me, grounding=GROUNDING),
            OpenAnswer(answer=an_answer(200, owner=2, conversation=20), model="glm-y", writer=OTHER, key=KEY),
        ]
        assert await store.leases.mine() == {HUNDRED: False}
        assert await store.leases_of(OTHER).mine() == {AnswerId(200): False}

    async def test_who_holds_an_answer_can_be_told_to_stop(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))

        await store.leases_of(OTHER).want_stop(HUNDRED)
        await store.leases_of(OTHER).want_stop(AnswerId(999))

        assert await store.leases.mine() == {HUNDRED: True}
        assert [found.wanted_to_stop for found in await store.leases.open_answers()] == [True]

    async def test_an_answer_that_was_taken_over_belongs_to_the_other(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
        other = store.leases_of(OTHER)

        taken = await other.take_over(HUNDRED, store.leases.me)

        assert taken == 1
        assert await store.leases.mine() == {}
        assert await other.mine() == {HUNDRED: False}
        assert [(found.writer, found.takeovers) for found in await other.open_answers()] == [(OTHER, 1)]

    async def test_who_lost_an_answer_can_write_no_more(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
        await store.leases_of(OTHER).take_over(HUNDRED, store.leases.me)

        await store.journal.checkpoint([Part(HUNDRED, 2, [Delta("late")])])
        finished = await store.journal.finish(HUNDRED, 2, [Delta("late")], a_reply(2, "late"))
        await store.journal.withdraw(HUNDRED)
        await store.leases.release(HUNDRED)

        assert not finished
        assert list(await store.journal.events(HUNDRED)) == [(1, Delta("a"))]
        assert await messages(store) == [a_message(1)]
        assert await store.leases_of(OTHER).mine() == {HUNDRED: False}

    async def test_who_took_an_answer_over_writes_on_and_ends_it(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.checkpoint([Part(HUNDRED, 1, [Delta("a")])])
        other = store.journal_of(OTHER)
        await store.leases_of(OTHER).take_over(HUNDRED, store.leases.me)

        await other.checkpoint([Part(HUNDRED, 10, [Delta("b")])])
        finished = await other.finish(HUNDRED, 11, [Done()], a_reply(2, "ab"))

        assert finished
        assert list(await store.journal.events(HUNDRED)) == [(1, Delta("a")), (10, Delta("b")), (11, Done())]
        assert await messages(store) == [a_message(1), a_reply(2, "ab")]
        assert await store.journal.find(ALICE, HUNDRED) == an_answer(100, state=AnswerState.COMPLETE)
        assert not await store.leases.open_answers()

    async def test_of_several_who_would_take_it_one_does(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        others = [store.leases_of(WriterId(f"process {number}")) for number in range(5)]

        outcomes = await asyncio.gather(*(other.take_over(HUNDRED, store.leases.me) for other in others))

        assert sorted(outcomes, key=bool) == [None] * 4 + [1]
        assert await others[outcomes.index(1)].mine() == {HUNDRED: False}

    async def test_each_take_over_has_a_count_of_its_own(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        other, third = store.leases_of(OTHER), store.leases_of(THIRD)

        counts = [await other.take_over(HUNDRED, store.leases.me), await other.take_over(HUNDRED, OTHER)]
        await other.release(HUNDRED)
        counts.append(await third.take_over(HUNDRED, None))

        assert counts == [1, 2, 3]

    async def test_who_gives_another_sign_of_life_keeps_it(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        me, other = store.leases.me, store.leases_of(OTHER)
        unseen = (await other.beat()).get(me, 0)
        seen = (await store.leases.beat())[me]

        too_soon = [await other.take_over(HUNDRED, me, last_beat=unseen)]
        await store.leases.beat()
        too_soon.append(await other.take_over(HUNDRED, me, last_beat=seen))
        dead = await other.take_over(HUNDRED, me, last_beat=seen + 1)

        assert (too_soon, dead) == ([None, None], 1)

    async def test_who_has_been_forgotten_keeps_nothing(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        me, other = store.leases.me, store.leases_of(OTHER)
        seen = (await store.leases.beat())[me]
        await other.leave(me)

        assert await other.take_over(HUNDRED, me, last_beat=seen) == 1

    async def test_what_was_let_go_of_is_anybodys(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        other = store.leases_of(OTHER)
        too_early = await other.take_over(HUNDRED, None)

        await store.leases.release(HUNDRED)
        released = [found.writer for found in await other.open_answers()]
        in_time = await other.take_over(HUNDRED, None)
        too_late = await store.leases_of(THIRD).take_over(HUNDRED, None)

        assert (too_early, released, in_time, too_late) == (None, [None], 1, None)
        assert await other.mine() == {HUNDRED: False}

    async def test_what_has_ended_is_nobodys(self, store: Store) -> None:
        await given_a_conversation(store)
        await store.journal.begin(a_turn(100))
        await store.journal.finish(HUNDRED, 1, [], a_reply(2))
        other = store.leases_of(OTHER)

        taken = [await other.take_over(HUNDRED, holder) for holder in (store.leases.me, None)]
        await other.want_stop(HUNDRED)
        await store.leases.release(HUNDRED)

        assert taken == [None, None]
        assert not await other.open_answers()
        assert not await store.leases.mine()
