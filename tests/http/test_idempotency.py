"""The same `Idempotency-Key` and body give the same result; another body is refused."""

import asyncio
from typing import Any

import pytest

from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.clients import PASSWORD, Client

KEY = {"Idempotency-Key": "3f1c"}
OTHER = {"Idempotency-Key": "77aa"}


async def test_a_registration_is_repeated_without_harm(client: Client) -> None:
    body = {"username": "john_doe", "password": PASSWORD}

    first = await client.post("/api/users/register", body, headers=KEY)
    again = await client.post("/api/users/register", body, headers=KEY)
    different = await client.post("/api/users/register", {**body, "password": "other"}, headers=KEY)

    assert (first.status_code, again.status_code, different.status_code) == (201, 201, 409)
    assert different.json()["code"] == "idempotency_mismatch"


async def test_a_conversation_is_created_once(alice: Client) -> None:
    body = {"title": "x", "model": "gpt-4o", "api_key": "key"}

    first = await alice.post("/api/conversations/create", body, headers=KEY)
    again = await alice.post("/api/conversations/create", body, headers=KEY)
    different = await alice.post("/api/conversations/create", {**body, "api_key": "other"}, headers=KEY)

    assert first.json() == again.json()
    assert different.status_code == 409
    assert len((await alice.get("/api/conversations/list")).json()) == 1


async def test_the_order_of_fields_and_unknown_ones_make_no_other_body(alice: Client) -> None:
    first = await alice.post("/api/conversations/create", {"title": "x", "model": "m"}, headers=KEY)
    again = await alice.post("/api/conversations/create/", {"model": "m", "more": 1, "title": "x"}, headers=KEY)

    assert first.json() == again.json()


async def test_keys_of_different_users_have_nothing_to_do_with_each_other(alice: Client, bob: Client) -> None:
    body = {"title": "x", "model": "m"}

    hers = await alice.post("/api/conversations/create", body, headers=KEY)
    his = await bob.post("/api/conversations/create", body, headers=KEY)

    assert hers.json()["conversation_id"] != his.json()["conversation_id"]


async def test_a_question_is_asked_once_and_answered_from_the_start(alice: Client, model: ScriptedChatModel) -> None:
    conversation = await alice.new_conversation()
    path = f"/api/chat/{conversation}"

    first = await alice.post(path, {"message": "Hello"}, headers=KEY)
    again = await alice.post(path, {"message": "Hello"}, headers=KEY)
    different = await alice.post(path, {"message": "Bye"}, headers=KEY)

    assert first.text == again.text
    assert different.status_code == 409
    assert len(model.requests) == 1
    assert len(await alice.history(conversation)) == 2


async def test_a_repeat_joins_an_answer_that_is_still_running(alice: Client, model: ScriptedChatModel) -> None:
    conversation = await alice.new_conversation()
    go_on = asyncio.Event()
    model.play_next("one", go_on, "two")

    asked = [
        asyncio.create_task(alice.post(f"/api/chat/{conversation}", {"message": "Hello"}, headers=KEY))
        for _ in range(3)
    ]
    await model.asked()
    go_on.set()
    replies = await asyncio.gather(*asked)

    assert len({reply.text for reply in replies}) == 1
    assert len(model.requests) == 1


async def test_the_same_question_in_another_conversation_is_another_request(alice: Client) -> None:
    first, second = await alice.new_conversation(), await alice.new_conversation()
    await alice.post(f"/api/chat/{first}", {"message": "Hello"}, headers=KEY)

    reply = await alice.post(f"/api/chat/{second}", {"message": "Hello"}, headers=KEY)

    assert reply.status_code == 409


async def test_a_knowledge_base_is_created_once(alice: Client) -> None:
    first = await alice.post("/api/rag/kb/create", {"kb_name": "x"}, headers=KEY)
    again = await alice.post("/api/rag/kb/create", {"kb_name": "x"}, headers=KEY)
    different = await alice.post("/api/rag/kb/create", {"kb_name": "y"}, headers=KEY)

    assert first.json() == again.json()
    assert different.status_code == 409
    assert different.json()["error"] == "该 Idempotency-Key 已用于另一个请求"


async def test_a_document_is_uploaded_once(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    first = await alice.upload(kb_id, "a.txt", b"some text", headers=KEY)
    again = await alice.upload(kb_id, "a.txt", b"some text", headers=KEY)
    other_content = await alice.upload(kb_id, "a.txt", b"other text", headers=KEY)
    other_name = await alice.upload(kb_id, "b.txt", b"some text", headers=KEY)

    assert first.json() == again.json()
    assert (other_content.status_code, other_name.status_code) == (409, 409)
    assert len((await alice.get(f"/api/rag/doc/list?kb_id={kb_id}")).json()["docs"]) == 1


async def test_a_question_to_a_knowledge_base_is_asked_once(alice: Client, model: ScriptedChatModel) -> None:
    kb_id, conversation = await alice.new_knowledge_base(), await alice.new_conversation()
    await alice.new_document(kb_id)
    body = {"conversation_id": conversation, "kb_id": kb_id, "message": "什么是不可抗力条款?"}

    first = await alice.post("/api/rag/chat", body, headers=KEY)
    again = await alice.post("/api/rag/chat", body, headers=KEY)
    different = await alice.post("/api/rag/chat", {**body, "top_k": 4}, headers=KEY)

    assert first.text == again.text
    assert different.status_code == 409
    assert len(model.requests) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
async def test_keys_that_are_none_are_refused(alice: Client, client: Client, key: str) -> None:
    headers: dict[str, Any] = {"Idempotency-Key": key.encode("latin-1")}

    made = await alice.post("/api/conversations/create", {"title": "x", "model": "m"}, headers=headers)
    registered = await client.post("/api/users/register", {"username": "x", "password": "y"}, headers=headers)

    assert (made.status_code, made.json()["code"]) == (400, "invalid_idempotency_key")
    assert registered.status_code == 400


async def test_other_keys_make_other_things(alice: Client) -> None:
    made = [
        await alice.post("/api/conversations/create", {"title": "x", "model": "m"}, headers=headers)
        for headers in (KEY, OTHER)
    ]

    assert made[0].json()["conversation_id"] != made[1].json()["conversation_id"]
