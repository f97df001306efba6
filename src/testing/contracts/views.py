"""What every adapter of `ConversationViews` keeps.

Those of `KnowledgeViews` are tested together with the documents, in `contracts.knowledge`.
"""

import asyncio
from datetime import timedelta

import pytest

from llm_backend.domain.conversations import ConversationSummary
from llm_backend.domain.errors import ConversationNotFound
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.testing.builders import NOON, a_conversation, a_message, a_reply, a_turn, a_user
from llm_backend.testing.contracts.store import ALICE, BOB, Store, given

TEN = ConversationId(10)


async def talk(store: Store, conversation: int, *, turns: int) -> None:
    """Questions and answers that say their number."""
    for turn in range(turns):
        question, answer = 2 * turn + 1, AnswerId(conversation * 1000 + turn)
        await store.journal.begin(a_turn(answer, conversation=conversation, question=question, text=f"text {question}"))
        assert await store.journal.finish(answer, 1, [], a_reply(question + 1, f"text {question + 1}"))


class ConversationViewsContract:
    """Lists and threads: ordered, limited, of one owner, all of one moment. Needs the fixture `store`."""

    async def test_nobody_has_conversations_at_first(self, store: Store) -> None:
        assert not await store.conversation_views.summaries(ALICE)

    async def test_the_list_has_the_newest_first(self, store: Store) -> None:
        conversations = [a_conversation(number, title=f"title {number}") for number in (30, 10, 20)]
        await given(store, a_user(1), *conversations)

        summaries = await store.conversation_views.summaries(ALICE)

        assert list(summaries) == [
            ConversationSummary(id=ConversationId(number), title=f"title {number}", created_at=NOON)
            for number in (20, 10, 30)
        ]

    async def test_a_clock_that_jumps_back_does_not_change_the_order(self, store: Store) -> None:
        await given(store, a_user(1))
        for number, hours in [(10, 3), (20, 0), (30, -5)]:
            await given(store, a_conversation(number, created_at=NOON + timedelta(hours=hours)))

        summaries = await store.conversation_views.summaries(ALICE)

        assert [summary.id for summary in summaries] == [30, 20, 10]

    async def test_the_list_shows_only_what_the_owner_has(self, store: Store) -> None:
        await given(
            store, a_user(1), a_user(2), *(a_conversation(number, owner=number % 2 + 1) for number in range(10, 16))
        )

        of_alice, of_bob, of_nobody = [
            [summary.id for summary in await store.conversation_views.summaries(owner)]
            for owner in (ALICE, BOB, UserId(3))
        ]

        assert (of_alice, of_bob, of_nobody) == ([14, 12, 10], [15, 13, 11], [])

    async def test_the_list_can_be_read_page_by_page(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in (10, 11, 12, 13, 14)))
        views = store.conversation_views

        pages = [
            [summary.id for summary in await views.summaries(ALICE, limit=2, before=before)]
            for before in (None, ConversationId(13), ConversationId(11), TEN)
        ]

        assert pages == [[14, 13], [12, 11], [10], []]

    async def test_before_works_without_a_limit_and_a_limit_of_none_is_all(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in (10, 11, 12)))

        summaries = await store.conversation_views.summaries(ALICE, before=ConversationId(12))

        assert [summary.id for summary in summaries] == [11, 10]

    async def test_a_thread_has_its_messages_in_order(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10), a_conversation(11))
        await talk(store, 10, turns=6)
        await talk(store, 11, turns=1)

        thread = await store.conversation_views.thread(ALICE, TEN)

        assert thread.conversation == a_conversation(10, last_number=12)
        assert [message.number for message in thread.messages] == list(range(1, 13))
        assert thread.messages[10] == a_message(11, "text 11")
        assert thread.messages[11] == a_reply(12, "text 12")

    @pytest.mark.parametrize("limit", [1, 3, 6, 7])
    async def test_a_limited_thread_has_the_newest_oldest_first(self, store: Store, limit: int) -> None:
        await given(store, a_user(1), a_conversation(10))
        await talk(store, 10, turns=3)

        thread = await store.conversation_views.thread(ALICE, TEN, limit=limit)

        assert [message.number for message in thread.messages] == list(range(1, 7))[-limit:]
        assert thread.conversation.last_number == 6

    async def test_a_stretch_of_a_thread_begins_at_either_end(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2), a_conversation(10))
        await talk(store, 10, turns=3)
        stretch = store.conversation_views.stretch

        parts = [
            await stretch(ALICE, TEN, first=2, last=5, limit=3),
            await stretch(ALICE, TEN, first=2, last=5, limit=3, newest_first=True),
            await stretch(ALICE, TEN, limit=10),
            await stretch(ALICE, TEN, first=7, limit=10),
        ]

        numbers = [[message.number for message in part.messages] for part in parts]
        assert numbers == [[2, 3, 4], [5, 4, 3], [1, 2, 3, 4, 5, 6], []]
        assert {part.conversation.last_number for part in parts} == {6}
        for stranger, conversation in [(BOB, TEN), (ALICE, ConversationId(11))]:
            with pytest.raises(ConversationNotFound):
                await stretch(stranger, conversation, limit=1)

    async def test_a_new_conversation_has_an_empty_thread(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))

        assert not (await store.conversation_views.thread(ALICE, TEN)).messages

    async def test_a_thread_of_somebody_else_looks_absent(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2), a_conversation(10, owner=1))

        for stranger, conversation in [(BOB, TEN), (UserId(3), TEN), (ALICE, ConversationId(11))]:
            with pytest.raises(ConversationNotFound):
                await store.conversation_views.thread(stranger, conversation)

    async def test_a_thread_is_of_one_moment(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        talking = asyncio.create_task(talk(store, 10, turns=40))

        threads = []
        while not talking.done():
            threads.append(await store.conversation_views.thread(ALICE, TEN))
            await asyncio.sleep(0)
        await talking

        assert [len(thread.messages) for thread in threads] == [thread.conversation.last_number for thread in threads]

    async def test_many_read_at_once(self, store: Store) -> None:
        await given(store, a_user(1), *(a_conversation(number) for number in range(10, 60)))
        await talk(store, 10, turns=2)

        threads = await asyncio.gather(*(store.conversation_views.thread(ALICE, TEN) for _ in range(200)))
        lists = await asyncio.gather(*(store.conversation_views.summaries(ALICE, limit=20) for _ in range(200)))

        assert {len(thread.messages) for thread in threads} == {4}
        assert {len(summaries) for summaries in lists} == {20}
