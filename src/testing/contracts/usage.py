"""What every adapter of `UsageLog` keeps."""

from dataclasses import replace
from datetime import timedelta

from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.ids import LARGEST_ID, ApiKeyId, ConversationId, UsageId, UserId
from llm_backend.domain.usage import UsageGroup, UsageKind, UsageRecord, UsageSum
from llm_backend.testing.builders import NOON, a_user
from llm_backend.testing.contracts.store import ALICE, BOB, Store, given

CHAT = UsageRecord(
    id=UsageId("chat"),
    owner=ALICE,
    at=NOON,
    kind=UsageKind.CHAT,
    model="gpt-4o",
    tokens=TokenUsage(prompt=10, completion=3),
    cost=5_000,
    key=ApiKeyId("a-key"),
)
ANOTHER = replace(CHAT, id=UsageId("another chat"))
ANSWER = replace(
    CHAT,
    id=UsageId("answer"),
    at=NOON + timedelta(hours=13),
    kind=UsageKind.ANSWER,
    model="glm",
    cost=None,
    key=None,
    is_estimated=True,
    conversation=ConversationId(LARGEST_ID),
)


def a_sum(group: str | None, *records: UsageRecord) -> UsageSum:
    return UsageSum(
        group=group,
        requests=len(records),
        prompt=sum(record.tokens.prompt for record in records),
        completion=sum(record.tokens.completion for record in records),
        estimated=sum(record.is_estimated for record in records),
        cost=sum(record.cost or 0 for record in records),
    )


class UsageLogContract:
    """Usage: nothing is lost, nothing counted twice, and nobody sees anybody else's. Needs the fixture `store`."""

    async def test_nothing_has_been_used_at_first(self, store: Store) -> None:
        assert not await store.usage.sums(ALICE, UsageGroup.DAY)

    async def test_usage_is_added_up_by_each_group(self, store: Store) -> None:
        await given(store, a_user(1))

        await store.usage.add([CHAT, ANOTHER, ANSWER])

        sums = {by: list(await store.usage.sums(ALICE, by)) for by in UsageGroup}
        assert sums == {
            UsageGroup.DAY: [a_sum("2026-03-01", CHAT, CHAT), a_sum("2026-03-02", ANSWER)],
            UsageGroup.MODEL: [a_sum("glm", ANSWER), a_sum("gpt-4o", CHAT, CHAT)],
            UsageGroup.KEY: [a_sum(None, ANSWER), a_sum("a-key", CHAT, CHAT)],
            UsageGroup.CONVERSATION: [a_sum(None, CHAT, CHAT), a_sum(str(LARGEST_ID), ANSWER)],
            UsageGroup.KIND: [a_sum("answer", ANSWER), a_sum("chat", CHAT, CHAT)],
        }

    async def test_a_report_begins_at_one_moment_and_ends_before_another(self, store: Store) -> None:
        await given(store, a_user(1))
        moments = [NOON + timedelta(minutes=minutes) for minutes in range(4)]
        each = TokenUsage(prompt=1, completion=0)
        await store.usage.add([replace(CHAT, id=UsageId(str(at)), at=at, tokens=each) for at in moments])

        (found,) = await store.usage.sums(ALICE, UsageGroup.MODEL, since=moments[1], until=moments[3])
        nothing = await store.usage.sums(ALICE, UsageGroup.MODEL, since=moments[3] + timedelta(seconds=1))

        assert found.requests == 2
        assert not nothing

    async def test_everybody_sees_what_is_theirs(self, store: Store) -> None:
        await given(store, a_user(1), a_user(2))

        await store.usage.add([CHAT, replace(ANOTHER, owner=BOB, model="of bob")])

        assert list(await store.usage.sums(BOB, UsageGroup.MODEL)) == [a_sum("of bob", CHAT)]
        assert not await store.usage.sums(UserId(3), UsageGroup.MODEL)

    async def test_those_who_are_gone_are_left_out(self, store: Store) -> None:
        await given(store, a_user(1))

        await store.usage.add([replace(ANOTHER, owner=UserId(99)), CHAT])

        assert [found.requests for found in await store.usage.sums(ALICE, UsageGroup.DAY)] == [1]

    async def test_large_numbers_add_up(self, store: Store) -> None:
        await given(store, a_user(1))
        many = replace(CHAT, tokens=TokenUsage(prompt=2**53, completion=2**53), cost=2**60)

        await store.usage.add([many, replace(many, id=ANOTHER.id)])

        assert list(await store.usage.sums(ALICE, UsageGroup.MODEL)) == [a_sum("gpt-4o", many, many)]

    async def test_what_is_added_again_counts_once(self, store: Store) -> None:
        await given(store, a_user(1))
        await store.usage.add([CHAT])

        await store.usage.add([CHAT, ANSWER])
        await store.usage.add([ANSWER, CHAT])

        assert list(await store.usage.sums(ALICE, UsageGroup.KIND)) == [a_sum("answer", ANSWER), a_sum("chat", CHAT)]
