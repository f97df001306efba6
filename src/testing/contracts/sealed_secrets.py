"""What every adapter of `SealedSecrets` keeps."""

from llm_backend.application.ports.sealed_secrets import StoredSecret
from llm_backend.domain.ids import LARGEST_ID, ConversationId
from llm_backend.domain.secrets import SealedSecret
from llm_backend.testing.builders import a_conversation, a_user
from llm_backend.testing.contracts.store import ALICE, BOB, Store, given

OLD = SealedSecret(key_id="old", sealed=bytes(range(256)))
NEW = SealedSecret(key_id="new", sealed=b"\x00new")


async def given_three(store: Store) -> None:
    """Two secrets under the old key and one under the new, and a conversation without one."""
    await given(
        store,
        a_user(1),
        a_user(2),
        a_conversation(30, owner=1, api_key=OLD),
        a_conversation(10, owner=2, api_key=OLD),
        a_conversation(20, owner=1, api_key=NEW),
        a_conversation(40, owner=1),
    )


async def page(store: Store, key_id: str, *, after: int | None = None, limit: int = 10) -> list[int]:
    position = None if after is None else ConversationId(after)
    found = await store.sealed_secrets.sealed_otherwise(key_id, after=position, limit=limit)
    return [stored.conversation for stored in found]


class SealedSecretsContract:
    """Secrets are found by the key they are not under, and replaced only if they are still the same. Needs the fixture
    `store`."""

    async def test_secrets_are_counted_by_key(self, store: Store) -> None:
        await given_three(store)

        assert dict(await store.sealed_secrets.count_by_key()) == {"old": 2, "new": 1}

    async def test_nothing_is_counted_where_nothing_is(self, store: Store) -> None:
        await given(store, a_user(1), a_conversation(10))

        assert dict(await store.sealed_secrets.count_by_key()) == {}

    async def test_those_under_another_key_come_with_owner_and_content_in_order(self, store: Store) -> None:
        await given_three(store)

        found = await store.sealed_secrets.sealed_otherwise("new", after=None, limit=10)

        assert list(found) == [
            StoredSecret(owner=BOB, conversation=ConversationId(10), secret=OLD),
            StoredSecret(owner=ALICE, conversation=ConversationId(30), secret=OLD),
        ]

    async def test_they_come_in_pages(self, store: Store) -> None:
        await given_three(store)

        assert await page(store, "newer", limit=2) == [10, 20]
        assert await page(store, "newer", after=20, limit=2) == [30]
        assert await page(store, "newer", after=LARGEST_ID) == []

    async def test_a_replaced_secret_is_what_its_owner_gets(self, store: Store) -> None:
        await given_three(store)

        await store.sealed_secrets.replace([(stored(30), NEW), (stored(10, owner=2), NEW)])

        assert dict(await store.sealed_secrets.count_by_key()) == {"new": 3}
        assert (await store.conversation_views.thread(BOB, ConversationId(10))).conversation.api_key == NEW

    async def test_what_was_deleted_or_replaced_meanwhile_stays_so(self, store: Store) -> None:
        await given_three(store)
        other = SealedSecret(key_id="old", sealed=b"other bytes")
        async with store.transactions() as work:
            await work.conversations.remove(BOB, ConversationId(10))
            await work.commit()

        await store.sealed_secrets.replace([(stored(10, owner=2), NEW), (stored(20), OLD), (stored(30, other), NEW)])

        assert dict(await store.sealed_secrets.count_by_key()) == {"old": 1, "new": 1}

    async def test_no_changes_are_no_error(self, store: Store) -> None:
        await store.sealed_secrets.replace([])


def stored(conversation: int, secret: SealedSecret = OLD, *, owner: int = 1) -> StoredSecret:
    return StoredSecret(owner=BOB if owner == 2 else ALICE, conversation=ConversationId(conversation), secret=secret)
