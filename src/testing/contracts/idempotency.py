"""What every adapter of `IdempotencyRecords` keeps."""

import asyncio
from datetime import timedelta

import pytest

from llm_backend.application.ports.idempotency import NOBODY, AlreadyRecorded
from llm_backend.domain.errors import IdempotencyMismatch
from llm_backend.domain.ids import UserId
from llm_backend.testing.builders import NOON, a_key, a_user
from llm_backend.testing.contracts.store import ALICE, BOB, Store, given


async def record(store: Store, owner: UserId, key: str, outcome: str, *, fingerprint: str = "print") -> None:
    async with store.transactions() as work:
        await work.idempotency.record(owner, a_key(key, fingerprint), outcome, at=NOON)
        await work.commit()


class IdempotencyContract:
    """One outcome for each key of each owner. Needs the fixture `store`."""

    async def test_a_new_key_has_no_outcome(self, store: Store) -> None:
        async with store.transactions() as work:
            assert await work.idempotency.outcome(ALICE, a_key()) is None

    @pytest.mark.parametrize("key", ["key", "x' OR '1'='1", "%", "k" * 255])
    async def test_the_same_request_has_the_same_outcome(self, store: Store, key: str) -> None:
        await given(store, a_user(1))

        await record(store, ALICE, key, "outcome")

        async with store.transactions() as work:
            assert await work.idempotency.outcome(ALICE, a_key(key)) == "outcome"

    async def test_another_request_under_the_same_key_is_refused(self, store: Store) -> None:
        await given(store, a_user(1))
        await record(store, ALICE, "key", "outcome")

        async with store.transactions() as work:
            with pytest.raises(IdempotencyMismatch):
                await work.idempotency.outcome(ALICE, a_key("key", "another print"))

    async def test_keys_of_others_are_other_keys(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2))

        for owner in (ALICE, BOB, NOBODY):
            await record(store, owner, "key", f"of {owner}", fingerprint=f"print {owner}")

        async with store.transactions() as work:
            outcomes = [
                await work.idempotency.outcome(owner, a_key("key", f"print {owner}")) for owner in (ALICE, BOB, NOBODY)
            ]
        assert outcomes == ["of 1", "of 2", "of 0"]

    async def test_a_key_that_was_forgotten_is_new(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2))
        for owner in (ALICE, BOB):
            await record(store, owner, "key", "outcome")

        for _ in range(2):
            async with store.transactions() as work:
                await work.idempotency.forget(ALICE, a_key())
                await work.commit()

        async with store.transactions() as work:
            assert await work.idempotency.outcome(ALICE, a_key()) is None
            assert await work.idempotency.outcome(BOB, a_key()) == "outcome"
        await record(store, ALICE, "key", "another")

    async def test_a_key_is_recorded_only_once(self, store: Store) -> None:
        await given(store, a_user(1))
        await record(store, ALICE, "key", "first")

        with pytest.raises(AlreadyRecorded):
            await record(store, ALICE, "key", "second")

        async with store.transactions() as work:
            assert await work.idempotency.outcome(ALICE, a_key("key")) == "first"

    async def test_of_ten_equal_records_one_wins_and_the_work_of_the_others_is_undone(self, store: Store) -> None:
        async def register(number: int) -> None:
            async with store.transactions() as work:
                await work.users.add(a_user(number))
                await work.idempotency.record(NOBODY, a_key(), str(number), at=NOON)
                await work.commit()

        outcomes = await asyncio.gather(*(register(n) for n in range(1, 11)), return_exceptions=True)

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AlreadyRecorded"] * 9 + ["NoneType"]
        async with store.transactions() as work:
            winner = await work.idempotency.outcome(NOBODY, a_key())
            found = [n for n in range(1, 11) if await work.users.get(UserId(n))]
        assert winner is not None
        assert found == [int(winner)]

    async def test_only_what_is_old_is_forgotten_and_counted(self, store: Store) -> None:
        await given(store, a_user(1))
        async with store.transactions() as work:
            for hours in range(4):
                at = NOON + timedelta(hours=hours)
                await work.idempotency.record(ALICE, a_key(f"at {hours}"), "outcome", at=at)
            await work.commit()

        async with store.transactions() as work:
            forgotten = await work.idempotency.forget_before(NOON + timedelta(hours=1, minutes=30))
            await work.commit()

        assert forgotten == 2
        async with store.transactions() as work:
            left = [await work.idempotency.outcome(ALICE, a_key(f"at {hours}")) for hours in range(4)]
        assert left == [None, None, "outcome", "outcome"]
