"""What every adapter of `Users` and `SessionViews` keeps."""

import asyncio
from datetime import UTC, datetime

import pytest

from llm_backend.domain.errors import UsernameTaken
from llm_backend.domain.ids import LARGEST_ID, UserId
from llm_backend.domain.users import PasswordHash, User
from llm_backend.testing.builders import NOON, a_session, a_user
from llm_backend.testing.contracts.store import ALICE, ODD_TEXTS, Store, given


class UsersContract:
    """Accounts: each is stored whole, and names are unique. Needs the fixture `store`."""

    async def test_a_user_comes_back_whole(self, store: Store) -> None:
        user = User(
            id=UserId(LARGEST_ID),
            username="名字 'é' 👩",
            password=PasswordHash("$argon2id$phc"),
            token_version=7,
            created_at=datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
        )

        await given(store, user)

        async with store.transactions() as work:
            by_id = await work.users.get(user.id)
            by_name = await work.users.named(user.username)
        assert by_id == by_name == user
        assert by_id is not None
        assert by_id.created_at.tzinfo is not None

    async def test_nobody_is_found_by_an_unknown_id_or_name(self, store: Store) -> None:
        await given(store, a_user(1))

        async with store.transactions() as work:
            assert await work.users.get(UserId(2)) is None
            assert await work.users.named("user-2") is None

    async def test_names_are_compared_exactly(self, store: Store) -> None:
        names = ["anna", "Anna", "ANNA", "änna", "a\u0308nna", "ann_", "ann%"]

        await given(store, *(a_user(number, name) for number, name in enumerate(names, 1)))

        async with store.transactions() as work:
            found = [await work.users.named(name) for name in names]
        assert [user and user.username for user in found] == names

    @pytest.mark.parametrize("text", ODD_TEXTS)
    async def test_odd_names_are_names_like_others(self, store: Store, text: str) -> None:
        # not every odd text is a valid name: control characters and surrounding blanks are refused before
        name = "".join(character for character in text if character.isprintable()).strip()
        await given(store, a_user(1, name), a_user(2, "somebody else"))

        async with store.transactions() as work:
            found = await work.users.named(name)

        assert found == a_user(1, name)

    async def test_a_name_can_be_taken_only_once(self, store: Store) -> None:
        await given(store, a_user(1, "anna"))

        with pytest.raises(UsernameTaken):
            await given(store, a_user(2, "anna"))

        async with store.transactions() as work:
            assert await work.users.get(UserId(2)) is None
            assert await work.users.named("anna") == a_user(1, "anna")

    async def test_of_ten_equal_registrations_one_wins(self, store: Store) -> None:
        attempts = [given(store, a_user(number, "anna")) for number in range(1, 11)]

        outcomes = await asyncio.gather(*attempts, return_exceptions=True)

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType"] + ["UsernameTaken"] * 9

    async def test_a_saved_change_is_seen_by_the_next(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2))
        changed = a_user(1)
        changed.change_password(PasswordHash("another"))

        async with store.transactions() as work:
            await work.users.save(changed)
            await work.commit()

        async with store.transactions() as work:
            assert await work.users.get(ALICE) == changed
            assert await work.users.get(UserId(2)) == a_user(2)

    async def test_a_change_that_is_not_saved_is_not_seen(self, store: Store) -> None:
        await given(store, a_user(1))

        async with store.transactions() as work:
            user = await work.users.get(ALICE)
            assert user is not None
            user.change_password(PasswordHash("another"))
            await work.commit()

        async with store.transactions() as work:
            assert await work.users.get(ALICE) == a_user(1)


class SessionViewsContract:
    """Sessions: alive until revoked, outdated or without a user. Needs the fixture `store`."""

    async def test_a_session_of_a_user_is_live(self, store: Store) -> None:
        await given(store, a_user(1, token_version=3))

        assert await store.session_views.is_live(a_session(1, token_version=3))

    async def test_a_session_of_nobody_is_dead(self, store: Store) -> None:
        assert not await store.session_views.is_live(a_session(1))

    @pytest.mark.parametrize("version", [2, 4])
    async def test_a_session_under_another_version_is_dead(self, store: Store, version: int) -> None:
        await given(store, a_user(1, token_version=3))

        assert not await store.session_views.is_live(a_session(1, token_version=version))

    async def test_a_revoked_session_is_dead_and_others_live_on(self, store: Store) -> None:
        await given(store, a_user(1))

        async with store.transactions() as work:
            await work.revocations.add("first", until=NOON)
            await work.commit()

        assert not await store.session_views.is_live(a_session(1, token_id="first"))
        assert await store.session_views.is_live(a_session(1, token_id="second"))

    async def test_a_session_dies_with_the_commit_of_a_new_password(self, store: Store) -> None:
        user = a_user(1)
        await given(store, user)
        session = a_session(1, token_version=user.token_version)

        user.change_password(PasswordHash("another"))
        async with store.transactions() as work:
            await work.users.save(user)
            await work.commit()

        assert not await store.session_views.is_live(session)
