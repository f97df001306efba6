"""What every adapter of `Revocations` keeps."""

from datetime import timedelta

import pytest

from llm_backend.testing.builders import NOON
from llm_backend.testing.contracts.store import ODD_TEXTS, Store


class RevocationsContract:
    """Dead tokens are remembered until they would have died anyway. Needs the fixture `store`."""

    @pytest.mark.parametrize("token", ["a-token", *ODD_TEXTS])
    async def test_a_revoked_token_is_contained_and_others_are_not(self, store: Store, token: str) -> None:
        async with store.transactions() as work:
            await work.revocations.add(token, until=NOON)
            await work.commit()

        async with store.transactions() as work:
            assert await work.revocations.contains(token)
            assert not await work.revocations.contains(token.upper() + "=")

    async def test_revoking_twice_is_no_error(self, store: Store) -> None:
        for _ in range(2):
            async with store.transactions() as work:
                await work.revocations.add("token", until=NOON)
                await work.revocations.add("token", until=NOON)
                await work.commit()

        async with store.transactions() as work:
            assert await work.revocations.contains("token")

    async def test_only_what_has_expired_is_forgotten_and_counted(self, store: Store) -> None:
        async with store.transactions() as work:
            for hours in range(4):
                await work.revocations.add(f"until {hours}", until=NOON + timedelta(hours=hours))
            await work.commit()

        async with store.transactions() as work:
            forgotten = await work.revocations.forget_expired(NOON + timedelta(hours=1, minutes=30))
            await work.commit()

        assert forgotten == 2
        async with store.transactions() as work:
            left = [await work.revocations.contains(f"until {hours}") for hours in range(4)]
        assert left == [False, False, True, True]
