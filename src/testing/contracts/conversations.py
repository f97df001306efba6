"""What every adapter of `Conversations` keeps."""

from datetime import UTC, datetime

import pytest

from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import Conversation, Role
from llm_backend.domain.errors import AnswerNotFound, ConversationIdTaken, ConversationNotFound
from llm_backend.domain.ids import LARGEST_ID, AnswerId, ConversationId, UserId
from llm_backend.domain.secrets import SealedSecret
from llm_backend.testing.builders import a_conversation, a_key, a_message, a_reply, a_turn, a_user
from llm_backend.testing.contracts.store import ALICE, BOB, ODD_TEXTS, Store, given

TEN = ConversationId(10)


class ConversationsContract:
    """Conversations are seen by their owners alone, and are gone when removed. Needs the fixture `store`."""

    async def test_a_conversation_comes_back_whole(self, store: Store) -> None:
        conversation = Conversation(
            id=ConversationId(LARGEST_ID),
            owner=BOB,
            title="标题 👩 'q'",
            model="gpt-x:latest",
            api_key=SealedSecret(key_id="key-3", sealed=bytes(range(256))),
            last_number=5,
            created_at=datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
        )

        await given(store, a_user(2), conversation)

        async with store.transactions() as work:
            found = await work.conversations.get(BOB, conversation.id)
        thread = await store.conversation_views.thread(BOB, conversation.id)
        assert found == thread.conversation == conversation
        assert found.created_at.tzinfo is not None

    async def test_one_from_elsewhere_comes_with_what_was_said(self, store: Store) -> None:
        said = [a_message(0, "Be nice", role=Role.SYSTEM), a_message(1), a_reply(2)]
        await given(store, a_user(1))

        async with store.transactions() as work:
            await work.conversations.add(a_conversation(10, last_number=2), said)
            await work.commit()

        assert list((await store.conversation_views.thread(ALICE, TEN)).messages) == said

    async def test_it_goes_on_behind_what_was_said_elsewhere(self, store: Store) -> None:
        await given(store, a_user(1))
        async with store.transactions() as work:
            await work.conversations.add(a_conversation(10, last_number=2), [a_message(1), a_reply(2)])
            await work.commit()

        await store.journal.begin(a_turn(100, question=3))

        assert [one.number for one in (await store.conversation_views.thread(ALICE, TEN)).messages] == [1, 2, 3]

    @pytest.mark.parametrize("owner", [1, 2])
    async def test_an_id_is_given_once_whoever_has_it(self, store: Store, owner: int) -> None:
        await given(store, a_user(1), a_user(2), a_conversation(10, owner=1))

        async with store.transactions() as work:
            with pytest.raises(ConversationIdTaken):
                await work.conversations.add(a_conversation(10, owner=owner), [a_message(1)])

        assert not (await store.conversation_views.thread(ALICE, TEN)).messages

    @pytest.mark.parametrize("text", ODD_TEXTS)
    async def test_odd_titles_are_titles_like_others(self, store: Store, text: str) -> None:
        await given(store, a_user(1), a_conversation(10, title=text))

        async with store.transactions() as work:
            assert (await work.conversations.get(ALICE, TEN)).title == text

    async def test_a_conversation_of_somebody_else_looks_absent(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2), a_conversation(10, owner=1))

        async with store.transactions() as work:
            for stranger, conversation in [(BOB, TEN), (UserId(3), TEN), (ALICE, ConversationId(11))]:
                with pytest.raises(ConversationNotFound):
                    await work.conversations.get(stranger, conversation)

    async def test_somebody_else_cannot_remove_it(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2), a_conversation(10, owner=1))

        async with store.transactions() as work:
            with pytest.raises(ConversationNotFound):
                await work.conversations.remove(BOB, TEN)
            await work.commit()

        assert (await store.conversation_views.thread(ALICE, TEN)).conversation.id == TEN

    async def test_removing_it_removes_messages_answers_and_events(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10), a_conversation(11))
        for conversation, answer in [(10, 100), (11, 110)]:
            await store.journal.begin(a_turn(answer, conversation=conversation, idempotency=a_key(f"key {answer}")))
            await store.journal.finish(AnswerId(answer), 1, [Delta("Hi")], a_reply(2))

        async with store.transactions() as work:
            await work.conversations.remove(ALICE, TEN)
            await work.commit()

        with pytest.raises(ConversationNotFound):
            await store.conversation_views.thread(ALICE, TEN)
        with pytest.raises(AnswerNotFound):
            await store.journal.find(ALICE, AnswerId(100))
        assert not await store.journal.events(AnswerId(100))
        assert len((await store.conversation_views.thread(ALICE, ConversationId(11))).messages) == 2
        assert list(await store.journal.events(AnswerId(110))) == [(1, Delta("Hi"))]

    async def test_one_that_is_made_again_under_the_same_id_starts_empty(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_turn(100))

        async with store.transactions() as work:
            await work.conversations.remove(ALICE, TEN)
            await work.conversations.add(a_conversation(10))
            await work.commit()

        assert not (await store.conversation_views.thread(ALICE, TEN)).messages
        assert await store.journal.latest(ALICE, TEN) is None

    async def test_removing_it_twice_finds_nothing_the_second_time(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))

        async with store.transactions() as work:
            await work.conversations.remove(ALICE, TEN)
            with pytest.raises(ConversationNotFound):
                await work.conversations.remove(ALICE, TEN)
            await work.commit()

    async def test_a_removal_without_a_commit_did_not_happen(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await store.journal.begin(a_turn(100))

        async with store.transactions() as work:
            await work.conversations.remove(ALICE, TEN)

        assert len((await store.conversation_views.thread(ALICE, TEN)).messages) == 1
