"""The old product's users and conversations become ours, once."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from llm_backend.application.conversations import key_binding
from llm_backend.application.ports.old_product import OldConversation, OldMessage, OldUser, Unreadable
from llm_backend.application.taking_over_old import Report, TakeOverOld
from llm_backend.domain.conversations import Message, Role
from llm_backend.domain.ids import LARGEST_ID, ConversationId, UserId
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.security.key_ring import FixedKeyRing
from llm_backend.infrastructure.security.secret_box import KEY_BYTES, AesGcmSecretBox
from llm_backend.testing.builders import NOON, a_conversation, a_user
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.store import given
from tests.old_product import HASH

BOX = AesGcmSecretBox(FixedKeyRing([bytes(KEY_BYTES)], KEY_BYTES))
SAID = (
    OldMessage(role="system", text="Be nice"),
    OldMessage(role="user", text="Hi"),
    OldMessage(role="assistant", text="Ho"),
)
ADA = OldUser(id=1, username="ada", password=HASH)
TALK = OldConversation(
    id="329629", owner=1, title="A talk", model="gpt-4o", api_key=Secret("sk-old"), created_at=NOON, messages=SAID
)


@dataclass
class Remains:
    """An old product in memory."""

    all_users: Sequence[OldUser | Unreadable] = (ADA,)
    all_conversations: Sequence[OldConversation | Unreadable] = (TALK,)

    async def users(self) -> AsyncIterator[OldUser | Unreadable]:
        for user in self.all_users:
            yield user

    async def conversations(self) -> AsyncIterator[OldConversation | Unreadable]:
        for conversation in self.all_conversations:
            yield conversation


@dataclass
class House:
    """Where they move in."""

    store: MemoryStore = field(default_factory=MemoryStore)

    async def take_over(self, old: Remains | None = None, *, dry_run: bool = False) -> Report:
        take_over = TakeOverOld(
            old=old or Remains(),
            transactions=self.store.transactions,
            secrets=BOX,
            now=ManualClock(),
            dry_run=dry_run,
        )
        reports = [report async for report in take_over()]
        return reports[-1]

    async def delete(self, conversation: ConversationId, owner: int = 1) -> None:
        async with self.store.transactions() as work:
            await work.conversations.remove(UserId(owner), conversation)
            await work.commit()

    async def said(self, conversation: int = 329629, owner: int = 1) -> Sequence[Message]:
        thread = await self.store.conversation_views.thread(UserId(owner), ConversationId(conversation))
        return thread.messages


@pytest.fixture
def house() -> House:
    return House()


async def test_ids_numbers_roles_and_times_stay_what_they_were(house: House) -> None:
    report = await house.take_over()

    assert (report.users, report.conversations, report.messages, report.api_keys, report.remarks) == (1, 1, 3, 1, [])
    said = await house.said()
    assert [(one.number, one.role, one.text) for one in said] == [
        (0, Role.SYSTEM, "Be nice"),
        (1, Role.USER, "Hi"),
        (2, Role.ASSISTANT, "Ho"),
    ]
    assert {one.created_at for one in said} == {NOON}
    assert [one.model for one in said] == [None, None, "gpt-4o"]
    async with house.store.transactions() as work:
        user = await work.users.named("ada")
        conversation = await work.conversations.get(UserId(1), ConversationId(329629))
    assert user is not None
    assert (user.id, user.password.phc) == (1, HASH)
    assert (conversation.title, conversation.last_number, conversation.created_at) == ("A talk", 2, NOON)


async def test_keys_are_sealed_on_their_way_in(house: House) -> None:
    await house.take_over()

    async with house.store.transactions() as work:
        key = (await work.conversations.get(UserId(1), ConversationId(329629))).api_key
    assert key is not None
    assert b"sk-old" not in key.sealed
    assert BOX.open(key, bound_to=key_binding(UserId(1), ConversationId(329629))) == Secret("sk-old")


async def test_a_second_time_adds_nothing_whatever_has_happened_since(house: House) -> None:
    await house.take_over()
    async with house.store.transactions() as work:
        user = await work.users.get(UserId(1))
        assert user is not None
        user.change_password(replace(user.password, phc="another"))
        await work.users.save(user)
        await work.commit()

    report = await house.take_over()

    assert (report.users, report.conversations, report.messages) == (0, 0, 0)
    assert (report.users_there, report.conversations_there, report.remarks) == (1, 1, [])
    assert len(await house.said()) == 3
    async with house.store.transactions() as work:
        kept = await work.users.get(UserId(1))
    assert kept is not None
    assert kept.password.phc == "another"


@pytest.mark.parametrize("old_id", ["329629", "an id that becomes another"])
async def test_what_was_deleted_here_does_not_come_back(house: House, old_id: str) -> None:
    old = Remains(all_conversations=[replace(TALK, id=old_id)])
    await house.take_over(old)
    (summary,) = await house.store.conversation_views.summaries(UserId(1))
    await house.delete(summary.id)

    second, third = await house.take_over(old), await house.take_over(old)

    for report in (second, third):
        assert (report.conversations, report.conversations_there, report.conversations_deleted) == (0, 0, 1)
        assert report.remarks == []
    assert not await house.store.conversation_views.summaries(UserId(1))


async def test_nor_does_what_came_before_anybody_noted_that(house: House) -> None:
    await given(house.store, a_user(1, "ada"), a_conversation(329629, owner=1))
    await house.take_over()
    await house.delete(ConversationId(329629))

    report = await house.take_over()

    assert (report.conversations, report.conversations_deleted) == (0, 1)


async def test_a_dry_run_notes_nothing(house: House) -> None:
    await given(house.store, a_user(1, "ada"), a_conversation(329629, owner=1))
    await house.take_over(dry_run=True)
    await house.delete(ConversationId(329629))

    report = await house.take_over()

    assert (report.conversations, report.conversations_deleted) == (1, 0)


async def test_a_dry_run_counts_and_changes_nothing(house: House) -> None:
    report = await house.take_over(dry_run=True)

    assert (report.users, report.conversations, report.messages, report.api_keys) == (1, 1, 3, 1)
    async with house.store.transactions() as work:
        assert await work.users.named("ada") is None


async def test_ids_that_somebody_has_become_others_that_are_the_same_each_time(house: House) -> None:
    await given(house.store, a_user(1, "resident"), a_conversation(329629, owner=1))

    first, second = await house.take_over(), await house.take_over()

    assert (first.users, first.conversations, first.remarks) == (1, 1, [])
    assert (second.users_there, second.conversations_there) == (1, 1)
    async with house.store.transactions() as work:
        ada = await work.users.named("ada")
    assert ada is not None
    assert 1 < ada.id <= LARGEST_ID
    (summary,) = await house.store.conversation_views.summaries(ada.id)
    assert summary.id != 329629
    assert len(await house.said(summary.id, ada.id)) == 3
    assert not await house.said(329629, 1)


@pytest.mark.parametrize("number", ["0", "-5", "9007199254740992", "99999999999999999999", "００１"])
async def test_an_id_that_does_not_fit_becomes_another(house: House, number: str) -> None:
    report = await house.take_over(Remains(all_conversations=[replace(TALK, id=number)]))

    (summary,) = await house.store.conversation_views.summaries(UserId(1))
    assert report.conversations == 1
    assert 0 < summary.id <= LARGEST_ID


async def test_a_name_that_somebody_has_is_left_alone_with_all_that_belongs_to_it(house: House) -> None:
    await given(house.store, a_user(77, "ada"))

    report = await house.take_over()

    assert (report.users, report.conversations) == (0, 0)
    assert report.remarks == [
        "user 1 ('ada'): somebody else has this name here already",
        "conversation 329629: its user was not taken over",
    ]
    assert not await house.store.conversation_views.summaries(UserId(77))


async def test_what_makes_no_sense_is_listed_and_stops_nothing(house: House) -> None:
    old = Remains(
        all_users=[Unreadable("user 9", "why"), replace(ADA, id=2, username=" spaced "), ADA],
        all_conversations=[Unreadable("conversation 4", "why"), replace(TALK, id="5", owner=99), TALK],
    )

    report = await house.take_over(old)

    assert (report.users, report.conversations) == (1, 1)
    assert [remark.partition(":")[0] for remark in report.remarks] == [
        "user 9",
        "user 2 (' spaced ')",
        "conversation 4",
        "conversation 5",
    ]


@pytest.mark.parametrize(
    ("title", "kept"), [("", "Untitled"), (" \n", "Untitled"), ("x" * 300, "x" * 255), ("a\0b\ud800", "ab?")]
)
async def test_titles_are_made_to_fit(house: House, title: str, kept: str) -> None:
    await house.take_over(Remains(all_conversations=[replace(TALK, title=title)]))

    (summary,) = await house.store.conversation_views.summaries(UserId(1))
    assert summary.title == kept


@pytest.mark.parametrize("model", [None, "", "a\nb", "x" * 300])
async def test_a_model_that_is_none_is_unknown(house: House, model: str | None) -> None:
    await house.take_over(Remains(all_conversations=[replace(TALK, model=model)]))

    async with house.store.transactions() as work:
        assert (await work.conversations.get(UserId(1), ConversationId(329629))).model == "unknown"


@pytest.mark.parametrize("key", ["with space", "", "x" * 600, "密钥"])
async def test_a_key_that_is_none_is_left_out(house: House, key: str) -> None:
    report = await house.take_over(Remains(all_conversations=[replace(TALK, api_key=Secret(key))]))

    assert (report.conversations, report.api_keys) == (1, 0)
    assert report.remarks == ["conversation 329629: its API key is none, and was left out"]


async def test_messages_of_other_roles_are_left_out_and_texts_made_to_fit(house: House) -> None:
    said = [OldMessage(role="user", text="a\0b"), OldMessage(role="tool", text="x"), OldMessage(role="system", text="")]

    report = await house.take_over(Remains(all_conversations=[replace(TALK, messages=said)]))

    assert [(one.number, one.role, one.text) for one in await house.said()] == [
        (1, Role.USER, "ab"),
        (2, Role.SYSTEM, ""),
    ]
    assert "its message 2 is of 'tool'" in report.remarks[0]


async def test_conversations_are_listed_in_the_order_of_before(house: House) -> None:
    await house.take_over(Remains(all_conversations=[replace(TALK, id=str(number)) for number in (5, 3, 9)]))

    assert [one.id for one in await house.store.conversation_views.summaries(UserId(1))] == [9, 3, 5]
