"""What every adapter of `TakenOver` keeps."""

import pytest

from llm_backend.domain.ids import LARGEST_ID, ConversationId
from llm_backend.testing.builders import a_conversation, a_user
from llm_backend.testing.contracts.store import ALICE, Store, given

TEN = ConversationId(10)


async def note(store: Store, conversation: ConversationId = TEN) -> None:
    async with store.transactions() as work:
        await work.taken_over.note(conversation)
        await work.commit()


async def has(store: Store, conversation: ConversationId = TEN) -> bool:
    async with store.transactions() as work:
        return await work.taken_over.has(conversation)


class TakenOverContract:
    """What came from the old product is known for good. Needs the fixture `store`."""

    async def test_what_was_not_noted_is_not_known(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))

        assert not await has(store)

    @pytest.mark.parametrize("number", [1, LARGEST_ID])
    async def test_what_was_noted_is_known(self, store: Store, number: int) -> None:
        await note(store, ConversationId(number))

        assert await has(store, ConversationId(number))
        assert not await has(store)

    async def test_it_can_be_noted_twice(self, store: Store) -> None:
        await note(store)
        await note(store)

        assert await has(store)

    async def test_without_a_commit_nothing_is_noted(self, store: Store) -> None:
        async with store.transactions() as work:
            await work.taken_over.note(TEN)

        assert not await has(store)

    async def test_it_is_known_when_the_conversation_is_deleted(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))
        await note(store)

        async with store.transactions() as work:
            await work.conversations.remove(ALICE, TEN)
            await work.commit()

        assert await has(store)
