"""Conversations item by item, and the same conversations through both doors."""

import asyncio
from typing import Any

import pytest

from llm_backend.domain.answers import CallPiece
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel
from tests.http.clients import Client
from tests.http.openai.test_frame import error_of
from tests.http.openai.test_responses import MODEL, WEATHER, respond, streamed, text_of


async def a_conversation(client: Client, *texts: str, **fields: Any) -> str:
    items = [{"role": "user", "content": text} for text in texts]
    reply = await client.post("/v1/conversations", {"items": items, **fields})
    assert reply.status_code == 200, reply.text
    name: str = reply.json()["id"]
    return name


async def items_of(client: Client, conversation: str, query: str = "order=asc") -> list[dict[str, Any]]:
    reply = await client.get(f"/v1/conversations/{conversation}/items?{query}")
    assert reply.status_code == 200, reply.text
    items: list[dict[str, Any]] = reply.json()["data"]
    return items


def said(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(item["role"], item["content"][0]["text"]) for item in items]


async def test_a_conversation_is_made_described_and_deleted(alice: Client) -> None:
    made = (await alice.post("/v1/conversations", {"metadata": {"topic": "demo"}})).json()
    changed = (await alice.post(f"/v1/conversations/{made['id']}", {"metadata": {"topic": "other"}})).json()
    found = (await alice.get(f"/v1/conversations/{made['id']}")).json()
    gone = (await alice.request("DELETE", f"/v1/conversations/{made['id']}")).json()

    assert made["id"].startswith("conv_")
    assert (made["object"], made["metadata"]) == ("conversation", {"topic": "demo"})
    assert changed == found == {**made, "metadata": {"topic": "other"}}
    assert gone == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    assert (await alice.get(f"/v1/conversations/{made['id']}")).status_code == 404


async def test_items_are_added_listed_found_and_removed(alice: Client) -> None:
    name = await a_conversation(alice, "one")
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "done"}
    added = await alice.post(
        f"/v1/conversations/{name}/items", {"items": [{"role": "assistant", "content": "two"}, call, result]}
    )
    items = await items_of(alice, name)

    page = await alice.get(f"/v1/conversations/{name}/items?limit=3")
    rest = await alice.get(f"/v1/conversations/{name}/items", params={"after": page.json()["last_id"]})
    found = await alice.get(f"/v1/conversations/{name}/items/{items[2]['id']}")
    removed = await alice.request("DELETE", f"/v1/conversations/{name}/items/{items[0]['id']}")

    assert [item["type"] for item in items] == ["message", "message", "function_call", "function_call_output"]
    assert items[1]["content"][0] == {"type": "output_text", "text": "two", "annotations": [], "logprobs": []}
    assert added.json()["data"] == items[1:]
    assert page.json()["data"] + rest.json()["data"] == items[::-1]
    assert found.json() == items[2]
    assert removed.json()["id"] == name
    assert await items_of(alice, name) == items[1:]
    assert (await alice.get(f"/v1/conversations/{name}/items/{items[0]['id']}")).status_code == 404


@pytest.mark.parametrize("item", ["msg_1_1_0", "msg_0", "x", "fc_{}_1_0", "msg_{}_1_7", "msg_{}_9_0", "msg_{}_٣_0"])
async def test_what_is_no_item_is_not_found(alice: Client, item: str) -> None:
    name = await a_conversation(alice, "one")
    item = item.format(name.removeprefix("conv_"))

    for method in ("GET", "DELETE"):
        reply = await alice.request(method, f"/v1/conversations/{name}/items/{item}")
        assert reply.status_code == 404
        assert error_of(reply)["code"] == "item_not_found"
    assert len(await items_of(alice, name)) == 1


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_whoever_deletes_what_a_page_has_comes_to_the_end_of_the_list(alice: Client, order: str) -> None:
    name = await a_conversation(alice, *"abc")
    await respond(alice, [{"role": "user", "content": text} for text in "def"], conversation=name)
    everything = await items_of(alice, name, f"order={order}")

    found, after = [], ""
    while True:
        page = (await alice.get(f"/v1/conversations/{name}/items?limit=2&order={order}&after={after}")).json()
        found += page["data"]
        for item in page["data"]:
            await alice.request("DELETE", f"/v1/conversations/{name}/items/{item['id']}")
        after = page["last_id"]
        if not page["has_more"]:
            break

    assert len(everything) == 7
    assert found == everything
    assert await items_of(alice, name) == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_can_be_told_by_either_of_its_ends(alice: Client, order: str) -> None:
    name = await a_conversation(alice, *"abcdef")
    path, items = f"/v1/conversations/{name}/items", await items_of(alice, name, f"order={order}")
    ids = [item["id"] for item in items]
    await alice.request("DELETE", f"{path}/{ids[4]}")

    before = (await alice.get(path, params={"order": order, "limit": 2, "before": ids[4]})).json()
    between = (await alice.get(path, params={"order": order, "after": ids[0], "before": ids[3]})).json()

    assert (before["data"], before["has_more"]) == (items[2:4], True)
    assert (between["data"], between["has_more"]) == (items[1:3], False)


async def test_no_more_than_twenty_items_at_once(alice: Client) -> None:
    name = await a_conversation(alice)
    items = [{"role": "user", "content": str(number)} for number in range(21)]

    many = await alice.post(f"/v1/conversations/{name}/items", {"items": items})
    enough = await alice.post(f"/v1/conversations/{name}/items", {"items": items[:20]})

    assert (many.status_code, enough.status_code) == (400, 200)


async def test_a_repeated_request_adds_its_items_once(alice: Client) -> None:
    name, other = await a_conversation(alice, "one"), await a_conversation(alice)
    headers = {"Idempotency-Key": "once"}
    body = {"items": [{"role": "user", "content": "two"}, {"role": "assistant", "content": "three"}]}

    first, *again = await asyncio.gather(
        *(alice.post(f"/v1/conversations/{name}/items", body, headers=headers) for _ in range(4))
    )
    differently = await alice.post(f"/v1/conversations/{name}/items", {"items": body["items"][:1]}, headers=headers)
    elsewhere = await alice.post(f"/v1/conversations/{other}/items", body, headers=headers)

    assert first.status_code == 200, first.text
    assert [reply.json() for reply in again] == [first.json()] * 3
    assert said(await items_of(alice, name)) == [("user", "one"), ("user", "two"), ("assistant", "three")]
    assert (differently.status_code, elsewhere.status_code) == (409, 409)


async def test_a_conversation_of_one_door_goes_on_at_the_other(alice: Client, model: ScriptedChatModel) -> None:
    number = await alice.new_conversation(model=MODEL)
    await alice.post(f"/api/chat/{number}", {"message": "First"})

    response = await respond(alice, "Second", conversation=f"conv_{number}")
    await alice.post(f"/api/chat/{number}", {"message": "Third"})

    answer = "Rust 是一种系统编程语言"
    assert response["conversation"] == {"id": f"conv_{number}"}
    assert [turn.text for turn in model.requests[-1].turns] == ["First", answer, "Second", answer, "Third"]
    assert [message["content"] for message in await alice.history(number)] == [
        "First", answer, "Second", answer, "Third", answer,
    ]  # fmt: skip
    assert said(await items_of(alice, f"conv_{number}")) == [
        ("user", "First"), ("assistant", answer), ("user", "Second"), ("assistant", answer), ("user", "Third"),
        ("assistant", answer),
    ]  # fmt: skip


async def test_a_conversation_made_here_is_one_there(alice: Client) -> None:
    name = await a_conversation(alice, "Before", metadata={"title": "My title"})
    number = int(name.removeprefix("conv_"))
    await respond(alice, "Hello", conversation={"id": name})

    listed = (await alice.get("/api/conversations/list")).json()

    assert [(line["conversation_id"], line["title"]) for line in listed] == [(number, "My title")]
    assert [message["content"] for message in await alice.history(number)][:2] == ["Before", "Hello"]


async def test_the_items_of_a_response_are_those_of_its_conversation(alice: Client) -> None:
    name = await a_conversation(alice)

    events = await streamed(alice, "Hello", conversation=name)

    items = await items_of(alice, name)
    assert events[-1]["response"]["output"] == items[1:]


async def test_a_removed_message_is_neither_shown_nor_told_to_the_model(
    alice: Client, model: ScriptedChatModel
) -> None:
    name = await a_conversation(alice)
    response = await respond(alice, "Secret", conversation=name)
    items = await items_of(alice, name)
    await alice.request("DELETE", f"/v1/conversations/{name}/items/{items[0]['id']}")

    await respond(alice, "Next", conversation=name)

    assert [turn.text for turn in model.requests[-1].turns] == [text_of(response), "Next"]
    history = await alice.history(int(name.removeprefix("conv_")))
    assert [message["content"] for message in history] == [text_of(response), "Next", text_of(response)]
    assert (await alice.get(f"/v1/responses/{response['id']}")).status_code == 200


async def test_a_removed_answer_is_not_in_its_response_any_more_nor_in_its_stream(
    alice: Client, model: ScriptedChatModel
) -> None:
    name = await a_conversation(alice)
    model.play_next("Secret", CallPiece("", 0, "{}", "c1", "weather"))
    response = await respond(alice, "Tell", conversation=name, tools=[WEATHER])
    message, call = response["output"]
    await alice.request("DELETE", f"/v1/conversations/{name}/items/{message['id']}")

    found = await alice.get(f"/v1/responses/{response['id']}")
    stream = await alice.get(f"/v1/responses/{response['id']}?stream=true")

    assert found.status_code == 200, found.text
    assert found.json()["output"] == [call]
    assert stream.status_code == 200
    assert "Secret" not in stream.text


async def test_one_answer_at_a_time(alice: Client, model: ScriptedChatModel) -> None:
    name = await a_conversation(alice)
    model.play_next("Half", FOREVER)
    running = await respond(alice, "One", conversation=name, background=True)
    await model.asked()

    refused = await alice.post("/v1/responses", {"model": MODEL, "input": "Two", "conversation": name})
    added = await alice.post(f"/v1/conversations/{name}/items", {"items": [{"role": "user", "content": "x"}]})
    await alice.post(f"/v1/responses/{running['id']}/cancel")

    assert refused.status_code == added.status_code == 409
    assert error_of(refused)["code"] == "answer_in_progress"
    assert text_of(await respond(alice, "Two", conversation=name))


async def test_conversations_at_the_same_time_do_not_mix(alice: Client) -> None:
    names = [await a_conversation(alice) for _ in range(5)]

    await asyncio.gather(*(respond(alice, f"To {name}", conversation=name) for name in names))

    for name in names:
        assert said(await items_of(alice, name))[0] == ("user", f"To {name}")


async def test_the_conversation_of_a_single_response_is_nobodys_to_reach(
    alice: Client, model: ScriptedChatModel
) -> None:
    response = await respond(alice)
    number = response["output"][0]["id"].split("_")[1]
    name, shelf = f"conv_{number}", await alice.new_knowledge_base()
    before = len(model.requests)

    replies = [
        await alice.post("/v1/responses", {"model": MODEL, "input": "x", "conversation": name}),
        await alice.post("/v1/responses/input_tokens", {"model": MODEL, "input": "x", "conversation": name}),
        await alice.get(f"/v1/conversations/{name}"),
        await alice.post(f"/v1/conversations/{name}", {"metadata": {}}),
        await alice.get(f"/v1/conversations/{name}/items"),
        await alice.post(f"/v1/conversations/{name}/items", {"items": [{"role": "user", "content": "x"}]}),
        await alice.request("DELETE", f"/v1/conversations/{name}/items/msg_{number}_1_0"),
        await alice.request("DELETE", f"/v1/conversations/{name}"),
        await alice.post(f"/api/chat/{number}", {"message": "x"}),
        await alice.get(f"/api/chat/{number}/stream"),
        await alice.post(f"/api/chat/{number}/stop"),
        await alice.get(f"/api/conversations/history/{number}"),
        await alice.post("/api/rag/chat", {"conversation_id": int(number), "kb_id": shelf, "message": "x"}),
        await alice.post(f"/api/conversations/del/{number}"),
    ]

    assert [reply.status_code for reply in replies] == [404] * len(replies), [reply.text for reply in replies]
    assert len(model.requests) == before
    assert (await alice.get(f"/v1/responses/{response['id']}")).json() == response


@pytest.mark.parametrize("metadata", [{"k" * 65: "v"}, {"k": "v" * 513}, {str(n): "v" for n in range(17)}, {"k": 5}])
async def test_metadata_have_limits(alice: Client, metadata: dict[str, Any]) -> None:
    name = await a_conversation(alice)

    replies = [
        await alice.post("/v1/conversations", {"metadata": metadata}),
        await alice.post(f"/v1/conversations/{name}", {"metadata": metadata}),
    ]

    assert [reply.status_code for reply in replies] == [400, 400]


async def test_two_who_delete_at_once_delete_both(alice: Client) -> None:
    name = await a_conversation(alice)
    await respond(alice, [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}], conversation=name)
    first, second, answer = await items_of(alice, name)

    replies = await asyncio.gather(
        *(alice.request("DELETE", f"/v1/conversations/{name}/items/{item['id']}") for item in (first, second))
    )

    assert [reply.status_code for reply in replies] == [200, 200]
    assert await items_of(alice, name) == [answer]
