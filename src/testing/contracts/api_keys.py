"""What every adapter of `ApiKeys` and `ApiKeyViews` keeps."""

from datetime import UTC, datetime, timedelta

import pytest

from llm_backend.domain.api_keys import ApiKey, Scope
from llm_backend.domain.errors import ApiKeyNotFound
from llm_backend.domain.ids import LARGEST_ID, ApiKeyId, UserId
from llm_backend.testing.builders import NOON, a_user, an_api_key
from llm_backend.testing.contracts.store import ALICE, BOB, Store, given


async def given_keys(store: Store, *keys: ApiKey) -> None:
    """Add and commit them, in that order, after their owners."""
    await given(store, *(a_user(owner) for owner in sorted({key.owner for key in keys})))
    async with store.transactions() as work:
        for key in keys:
            await work.api_keys.add(key)
        await work.commit()


class ApiKeysContract:
    """Keys: each is stored whole, found by its hash, seen by its owner alone, and dead once it is removed. Needs the
    fixture `store`."""

    async def test_a_key_comes_back_whole(self, store: Store) -> None:
        key = ApiKey(
            id=ApiKeyId("0f5c2f58-7f3e-4a1e-9a3e-5b8e6d1c2a3b"),
            owner=UserId(LARGEST_ID),
            name="名字 'é' 👩",
            prefix="sk-abcdefgh",
            digest=bytes(range(32)),
            scopes=frozenset(Scope),
            created_at=datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
            expires_at=datetime(2032, 5, 6, 7, 8, 9, 1, tzinfo=UTC),
            last_used_at=datetime(2031, 6, 6, 7, 8, 9, 2, tzinfo=UTC),
        )

        await given_keys(store, key)

        async with store.transactions() as work:
            assert await work.api_keys.get(key.owner, key.id) == key
        assert await store.api_key_views.by_digest(key.digest) == key

    async def test_a_plain_key_comes_back_whole(self, store: Store) -> None:
        await given_keys(store, an_api_key(1))

        assert await store.api_key_views.by_digest(an_api_key(1).digest) == an_api_key(1)

    async def test_nothing_is_found_by_another_hash(self, store: Store) -> None:
        await given_keys(store, an_api_key(1))

        assert await store.api_key_views.by_digest(bytes(32)) is None
        assert await store.api_key_views.by_digest(b"") is None

    async def test_the_list_has_the_owners_keys_newest_first(self, store: Store) -> None:
        await given_keys(store, an_api_key(2), an_api_key(9, owner=2), an_api_key(1), an_api_key(3))

        of_alice, of_nobody = await store.api_key_views.of(ALICE), await store.api_key_views.of(UserId(3))

        assert list(of_alice) == [an_api_key(3), an_api_key(1), an_api_key(2)]
        assert not of_nobody
        async with store.transactions() as work:
            assert [await work.api_keys.count(owner) for owner in (ALICE, BOB, UserId(3))] == [3, 1, 0]

    async def test_a_removed_key_is_dead_with_the_commit(self, store: Store) -> None:
        await given_keys(store, an_api_key(1), an_api_key(2))

        async with store.transactions() as work:
            await work.api_keys.remove(ALICE, an_api_key(1).id)
            await work.commit()

        assert await store.api_key_views.by_digest(an_api_key(1).digest) is None
        assert list(await store.api_key_views.of(ALICE)) == [an_api_key(2)]

    async def test_a_key_of_somebody_else_looks_absent(self, store: Store) -> None:
        await given_keys(store, an_api_key(1), an_api_key(2, owner=2))

        for owner, key in [(BOB, an_api_key(1).id), (ALICE, ApiKeyId("none"))]:
            async with store.transactions() as work:
                with pytest.raises(ApiKeyNotFound):
                    await work.api_keys.get(owner, key)
            async with store.transactions() as work:
                with pytest.raises(ApiKeyNotFound):
                    await work.api_keys.remove(owner, key)

    async def test_all_keys_of_one_owner_can_be_removed(self, store: Store) -> None:
        await given_keys(store, an_api_key(1), an_api_key(2), an_api_key(3, owner=2))

        async with store.transactions() as work:
            await work.api_keys.remove_all(ALICE)
            await work.commit()

        assert not await store.api_key_views.of(ALICE)
        assert list(await store.api_key_views.of(BOB)) == [an_api_key(3, owner=2)]

    async def test_uses_are_noted_of_keys_that_are_there(self, store: Store) -> None:
        await given_keys(store, an_api_key(1), an_api_key(2))
        later = NOON + timedelta(minutes=5)

        async with store.transactions() as work:
            await work.api_keys.note_uses([(an_api_key(2).id, later), (ApiKeyId("gone"), later)])
            await work.commit()

        uses = {key.id: key.last_used_at for key in await store.api_key_views.of(ALICE)}
        assert uses == {an_api_key(1).id: None, an_api_key(2).id: later}
