"""The answer belongs to the server: clients leave, come back, follow by two, and stop it."""

import asyncio
import time
from contextlib import AsyncExitStack

from tests.http.clients import Client
from tests.system.streams import (
    SOON,
    STRICT,
    all_events,
    answered,
    asking,
    data_of,
    events_of,
    finished,
    first_events,
    number_of,
    resuming,
)
from tests.upstream import Upstream, text, tokens


async def left_after(client: Client, conversation: int, count: int) -> list[str]:
    """Ask, and hang up after so many events; their ids."""
    async with asking(client, conversation, **STRICT) as reply:
        return [event.id for event in await first_events(events_of(reply), count)]


async def test_a_client_that_leaves_after_three_tokens_finds_the_whole_answer(
    alice: Client, upstream: Upstream
) -> None:
    conversation = await alice.new_conversation(model="waits:after=3,tokens=40")

    await left_after(alice, conversation, 3)
    asked = await upstream.arrived()
    asked.go_on.set()

    assert await finished(alice, conversation) == [
        {"role": "user", "content": "Hello", "message_id": 1},
        {"role": "assistant", "content": text(40), "message_id": 2},
    ]
    assert not asked.hung_up.is_set()


async def test_a_client_that_leaves_before_the_first_token_finds_the_whole_answer(
    alice: Client, upstream: Upstream
) -> None:
    conversation = await alice.new_conversation(model="waits:after=0,tokens=40")
    impatient = asyncio.create_task(answered(alice, conversation))
    asked = await upstream.arrived()

    impatient.cancel()
    await asyncio.wait([impatient])
    asked.go_on.set()

    assert (await finished(alice, conversation))[1]["content"] == text(40)


async def test_a_running_answer_is_resumed_after_any_event(alice: Client, upstream: Upstream) -> None:
    conversation = await alice.new_conversation(model="waits:after=4,tokens=8")
    ids = await left_after(alice, conversation, 4)
    answer = ids[0].partition(".")[0]

    async with AsyncExitStack() as stack:
        replies = [
            await stack.enter_async_context(
                resuming(alice, conversation, **({"Last-Event-ID": f"{answer}.{n}"} if n else {}))
            )
            for n in range(5)
        ]
        (await upstream.arrived()).go_on.set()
        resumed = await asyncio.gather(*map(all_events, replies))

    for n, events in enumerate(resumed):
        assert [number_of(event) for event in events] == list(range(n + 1, 11))
        assert [data_of(event) for event in events][:-2] == tokens(8)[n:]


async def test_a_finished_answer_is_resumed_after_any_event_until_nothing_is_left(alice: Client) -> None:
    conversation = await alice.new_conversation(model="ok:tokens=6")
    async with asking(alice, conversation, **STRICT) as reply:
        seen = await all_events(reply)

    for n, event in enumerate(seen[:-1], 1):
        async with resuming(alice, conversation, **{"Last-Event-ID": event.id}) as reply:
            resumed = await all_events(reply)
        assert [(later.id, later.data) for later in resumed] == [(later.id, later.data) for later in seen[n:]]

    nothing = await alice.get(f"/api/chat/{conversation}/stream", headers={**STRICT, "Last-Event-ID": seen[-1].id})
    assert nothing.status_code == 204
    assert nothing.content == b""


async def test_a_conversation_without_an_answer_has_nothing_to_follow(alice: Client) -> None:
    conversation = await alice.new_conversation(model="ok")

    reply = await alice.get(f"/api/chat/{conversation}/stream", headers=STRICT)

    assert reply.status_code == 204


async def test_a_post_repeated_with_the_last_event_seen_starts_no_second_turn(
    alice: Client, upstream: Upstream
) -> None:
    conversation = await alice.new_conversation(model="waits:after=3,tokens=6")
    ids = await left_after(alice, conversation, 2)

    async with asking(alice, conversation, **STRICT, **{"Last-Event-ID": ids[-1]}) as reply:
        (await upstream.arrived()).go_on.set()
        resumed = await all_events(reply)
    async with asking(alice, conversation, **STRICT, **{"Last-Event-ID": resumed[3].id}) as reply:
        after_its_end = await all_events(reply)

    assert [number_of(event) for event in resumed] == [3, 4, 5, 6, 7, 8]
    assert [number_of(event) for event in after_its_end] == [7, 8]
    assert [message["message_id"] for message in await alice.history(conversation)] == [1, 2]
    assert len(upstream.requests) == 1


async def test_the_stream_of_somebody_else_looks_absent(alice: Client, bob: Client, upstream: Upstream) -> None:
    conversation = await alice.new_conversation(model="waits:after=3,tokens=6")
    ids = await left_after(alice, conversation, 2)
    headers = {**STRICT, "Last-Event-ID": ids[0]}
    path = f"/api/chat/{conversation}"

    missing = await bob.get("/api/chat/1234567/stream", headers=headers)
    theirs = await bob.get(f"{path}/stream", headers=headers)
    repeated = await bob.post(path, {"message": "Hello"}, headers=headers)
    stopped = await bob.post(f"{path}/stop")
    (await upstream.arrived()).go_on.set()

    assert [reply.status_code for reply in (missing, theirs, repeated, stopped)] == [404] * 4
    assert theirs.content == repeated.content == stopped.content == missing.content
    assert (await finished(alice, conversation))[1]["content"] == text(6)


async def test_the_answer_of_somebody_else_is_not_found_through_ones_own_conversation(
    alice: Client, bob: Client, upstream: Upstream
) -> None:
    hers = await alice.new_conversation(model="ok:tokens=6")
    his = await bob.new_conversation(model="burst:tokens=1")
    async with asking(alice, hers, **STRICT) as reply:
        seen = await all_events(reply)
    await answered(bob, his)

    reply = await bob.get(f"/api/chat/{his}/stream", headers={**STRICT, "Last-Event-ID": seen[0].id})

    assert reply.status_code == 204
    assert text(6) not in reply.text


async def test_stop_hangs_up_on_the_provider_within_a_second_and_keeps_the_text(
    alice: Client, upstream: Upstream
) -> None:
    conversation = await alice.new_conversation(model="stall:after=3")

    async with asking(alice, conversation, **STRICT) as reply:
        events = events_of(reply)
        await first_events(events, 3)
        asked, began = await upstream.arrived(), time.monotonic()
        stopped = await alice.post(f"/api/chat/{conversation}/stop")
        await asyncio.wait_for(asked.hung_up.wait(), SOON)
        took = time.monotonic() - began
        ending = [event async for event in events]

    assert stopped.json() == {"message": "Answer stopped"}
    assert took < 1
    assert [event.event for event in ending] == ["stream_error"]
    assert data_of(ending[0])["code"] == "stopped"
    assert (await alice.history(conversation))[1] == {
        "role": "assistant",
        "content": text(3),
        "message_id": 2,
        "state": "incomplete",
        "reason": "stopped",
    }


async def test_a_stopped_conversation_takes_the_next_message(alice: Client, upstream: Upstream) -> None:
    upstream.next("stall:after=3", "ok:tokens=5")
    conversation = await alice.new_conversation(model="any")
    await left_after(alice, conversation, 3)

    await alice.post(f"/api/chat/{conversation}/stop")
    reply = await answered(alice, conversation, "And now?")

    assert reply.status_code == 200
    history = await alice.history(conversation)
    assert [message["message_id"] for message in history] == [1, 2, 3, 4]
    assert history[3]["content"] == text(5)


async def test_two_followers_read_the_same(alice: Client, upstream: Upstream) -> None:
    conversation = await alice.new_conversation(model="waits:after=2,tokens=9")

    async with (
        asking(alice, conversation, **STRICT) as asker,
        resuming(alice, conversation) as first,
        resuming(alice, conversation) as second,
    ):
        (await upstream.arrived()).go_on.set()
        read = await asyncio.gather(*map(all_events, (asker, first, second)))

    assert [data_of(event) for event in read[0]] == [*tokens(9), "Stream finished", text(9)]
    first_told, *others = [[(event.id, event.data) for event in events] for events in read]
    assert others == [first_told, first_told]


async def test_a_second_question_while_an_answer_runs_is_refused_and_leaves_nothing(
    alice: Client, upstream: Upstream
) -> None:
    conversation = await alice.new_conversation(model="waits:after=1,tokens=4")

    async with asking(alice, conversation) as reply:
        refused = await answered(alice, conversation, "Me too")
        (await upstream.arrived()).go_on.set()
        await reply.aread()

    assert refused.status_code == 409
    assert int(refused.headers["retry-after"]) >= 1
    assert [message["content"] for message in await alice.history(conversation)] == ["Hello", text(4)]
