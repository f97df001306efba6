"""What every adapter of `UnitOfWorkFactory` keeps."""

import asyncio

import pytest

from llm_backend.domain.ids import UserId
from llm_backend.testing.builders import NOON, a_conversation, a_key, a_knowledge_base, a_user
from llm_backend.testing.contracts.store import ALICE, Store, given


class UnitOfWorkContract:
    """All or nothing, one after the other. Needs the fixture `store`."""

    async def test_without_a_commit_nothing_happened(self, store: Store) -> None:
        async with store.transactions() as work:
            await work.users.add(a_user(1))

        async with store.transactions() as work:
            assert await work.users.get(ALICE) is None

    async def test_an_error_undoes_what_came_before_it_in_every_repository(self, store: Store) -> None:
        async def fail_at_the_end() -> None:
            async with store.transactions() as work:
                await work.users.add(a_user(1))
                await work.conversations.add(a_conversation(owner=1))
                await work.knowledge_bases.add(a_knowledge_base(owner=1))
                await work.revocations.add("token", until=NOON)
                await work.idempotency.record(ALICE, a_key(), "outcome", at=NOON)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail_at_the_end()

        assert not await store.conversation_views.summaries(ALICE)
        assert not await store.knowledge_views.knowledge_bases(ALICE)
        async with store.transactions() as work:
            assert await work.users.get(ALICE) is None
            assert not await work.revocations.contains("token")
            assert await work.idempotency.outcome(ALICE, a_key()) is None

    async def test_what_comes_after_a_commit_needs_another(self, store: Store) -> None:
        async with store.transactions() as work:
            await work.users.add(a_user(1))
            await work.commit()
            await work.users.add(a_user(2))

        async with store.transactions() as work:
            assert await work.users.get(ALICE) == a_user(1)
            assert await work.users.get(UserId(2)) is None

    async def test_a_unit_of_work_sees_its_own_changes_and_views_do_not(self, store: Store) -> None:
        await given(store, a_user(1))

        async with store.transactions() as work:
            await work.conversations.add(a_conversation(10, owner=1))
            inside = await work.conversations.get(ALICE, a_conversation(10).id)
            outside = await store.conversation_views.summaries(ALICE)
            await work.commit()

        assert inside == a_conversation(10, owner=1)
        assert not outside

    async def test_concurrent_changes_of_what_was_read_are_not_lost(self, store: Store) -> None:
        await given(store, a_user(1, token_version=1))

        async def raise_the_version() -> None:
            async with store.transactions() as work:
                user = await work.users.get(ALICE)
                assert user is not None
                await asyncio.sleep(0)
                user.token_version += 1
                await work.users.save(user)
                await work.commit()

        await asyncio.gather(*(raise_the_version() for _ in range(8)))

        async with store.transactions() as work:
            user = await work.users.get(ALICE)
        assert user is not None
        assert user.token_version == 9

    async def test_one_that_is_given_up_midway_holds_up_nobody(self, store: Store) -> None:
        entered = asyncio.Event()

        async def never_ends() -> None:
            async with store.transactions() as work:
                await work.users.add(a_user(1))
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(never_ends())
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])

        await given(store, a_user(1))

    async def test_one_that_is_given_up_while_it_waits_holds_up_nobody(self, store: Store) -> None:
        async with store.transactions() as first:
            await first.users.add(a_user(1))
            waiting = [asyncio.create_task(given(store, a_user(number))) for number in (2, 3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            await first.commit()

        await waiting[1]

        async with store.transactions() as work:
            assert await work.users.get(UserId(2)) is None
            assert await work.users.get(UserId(3)) == a_user(3)
