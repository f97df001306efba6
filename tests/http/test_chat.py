"""What chat promises beyond the documented examples."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response

from llm_backend.application.backend import Backend
from llm_backend.application.ports.chat_model import Completion
from llm_backend.application.rewriting import INSTRUCTIONS as REWRITING
from llm_backend.domain.errors import (
    DomainError,
    UpstreamCutOff,
    UpstreamRejectedKey,
    UpstreamTimeout,
)
from llm_backend.interface.http.app import create_app
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel
from tests.http.backends import memory_backend
from tests.http.clients import CONTRACT, Client

STRICT = {"Accept": "text/event-stream"}
UNICODE = '你好 🌍 \u2028 naïve \t "quoted" \\ \U0010ffff'


def blocks(reply: Response) -> list[dict[str, Any]]:
    return [json.loads(block) for block in reply.text.split("\n\n") if block]


def event_ids(reply: Response) -> list[str]:
    return re.findall(r"^id: (\d+\.\d+)$", reply.text, re.MULTILINE)


async def ask(user: Client, conversation: int, message: str = "Hello", **headers: str) -> Response:
    return await user.post(f"/api/chat/{conversation}", {"message": message}, headers=headers)


async def test_the_reply_is_made_for_streaming(alice: Client) -> None:
    reply = await ask(alice, await alice.new_conversation())

    assert reply.headers["vary"] == "Accept"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-request-id"]


async def test_every_character_comes_back_as_it_was_typed(alice: Client, model: ScriptedChatModel) -> None:
    conversation = await alice.new_conversation(title=UNICODE)
    model.play_next(UNICODE)

    reply = await ask(alice, conversation, UNICODE)

    assert blocks(reply)[0]["data"] == UNICODE
    assert [message["content"] for message in await alice.history(conversation)] == [UNICODE, UNICODE]
    assert (await alice.get("/api/conversations/list")).json()[0]["title"] == UNICODE


async def test_the_next_question_can_be_asked_once_done_was_sent(alice: Client) -> None:
    conversation = await alice.new_conversation()

    for _ in range(3):
        assert (await ask(alice, conversation)).status_code == 200

    assert [message["message_id"] for message in await alice.history(conversation)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("error", "status"),
    [(UpstreamTimeout(), 500), (UpstreamRejectedKey(), 500), (RuntimeError("secret detail"), 500)],
)
async def test_a_failure_before_the_first_word_is_a_status(
    alice: Client, model: ScriptedChatModel, error: Exception, status: int
) -> None:
    conversation = await alice.new_conversation()
    model.play_next(error)

    reply = await ask(alice, conversation)

    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["code"] == (error.code if isinstance(error, DomainError) else "internal_error")
    assert "secret" not in reply.text
    assert await alice.history(conversation) == []


async def test_a_failure_after_some_words_is_an_event_and_the_words_are_kept(
    alice: Client, model: ScriptedChatModel
) -> None:
    conversation = await alice.new_conversation()
    model.play_next("Half an ", "answer", UpstreamCutOff())

    reply = await ask(alice, conversation)

    assert reply.status_code == 200
    assert [block["event"] for block in blocks(reply)] == ["message", "message", "stream_error"]
    assert blocks(reply)[-1]["data"] == {
        "code": "upstream_cut_off",
        "message": "The language model's server broke off in the middle of the answer",
    }
    assert (await alice.history(conversation))[1] == {
        "role": "assistant",
        "content": "Half an answer",
        "message_id": 2,
        "state": "incomplete",
        "reason": "upstream_cut_off",
    }


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_what_the_model_was_not_allowed_to_finish_is_marked_in_the_history(
    alice: Client, model: ScriptedChatModel, reason: str
) -> None:
    conversation = await alice.new_conversation()
    model.completion = Completion(finish_reason=reason)

    reply = await ask(alice, conversation)

    assert [block["event"] for block in blocks(reply)][-2:] == ["done", "full_response"]
    answer = (await alice.history(conversation))[1]
    assert answer["content"] == blocks(reply)[-1]["data"]
    assert (answer["state"], answer["reason"]) == ("incomplete", reason)


@pytest.mark.parametrize("reason", ["stop", "whatever", None])
async def test_what_the_model_has_finished_is_not(alice: Client, model: ScriptedChatModel, reason: str | None) -> None:
    conversation = await alice.new_conversation()
    model.completion = Completion(finish_reason=reason)

    await ask(alice, conversation)

    assert (await alice.history(conversation))[1].keys() == {"role", "content", "message_id"}


async def test_a_second_question_has_to_wait_for_the_first_answer(alice: Client, model: ScriptedChatModel) -> None:
    conversation = await alice.new_conversation()
    go_on = asyncio.Event()
    model.play_next("one", go_on)
    first = asyncio.create_task(ask(alice, conversation))
    await model.asked()

    second = await ask(alice, conversation)
    go_on.set()

    assert second.status_code == 409
    assert second.json()["code"] == "answer_in_progress"
    assert second.headers["retry-after"] == "1"
    assert (await first).status_code == 200
    assert len(await alice.history(conversation)) == 2


async def test_of_many_questions_at_once_each_is_answered_in_order_or_refused(alice: Client) -> None:
    conversation = await alice.new_conversation()

    replies = await asyncio.gather(*(ask(alice, conversation, f"question {number}") for number in range(10)))

    answered = sum(reply.status_code == 200 for reply in replies)
    history = await alice.history(conversation)
    assert {reply.status_code for reply in replies} <= {200, 409}
    assert answered >= 1
    assert [message["role"] for message in history] == ["user", "assistant"] * answered
    assert [message["message_id"] for message in history] == list(range(1, 2 * answered + 1))


async def test_missing_conversations_go_before_bad_bodies(alice: Client, bob: Client) -> None:
    theirs, mine = await bob.new_conversation(), await alice.new_conversation()

    assert (await alice.post(f"/api/chat/{theirs}", content=b"{")).status_code == 404
    assert (await alice.post(f"/api/chat/{theirs}", {"message": ""})).status_code == 404
    assert (await alice.post(f"/api/chat/{mine}", content=b"{")).status_code == 400
    assert (await alice.post(f"/api/chat/{mine}", {"message": " \n"})).status_code == 400


# Resuming ------------------------------------------------------------------------------------------------------------


async def test_an_ended_answer_can_be_read_again_from_any_event_on(alice: Client) -> None:
    conversation = await alice.new_conversation()
    sent = await ask(alice, conversation, **STRICT)
    ids = event_ids(sent)
    path = f"/api/chat/{conversation}/stream"

    for index, seen in enumerate(ids[:-1]):
        by_header = await alice.get(path, headers={**STRICT, "Last-Event-ID": seen})
        by_query = await alice.get(f"{path}?after={index + 1}", headers=STRICT)

        assert event_ids(by_header) == event_ids(by_query) == ids[index + 1 :]
    assert event_ids(await alice.get(path, headers=STRICT)) == ids


async def test_204_stops_a_client_that_has_seen_everything(alice: Client) -> None:
    conversation = await alice.new_conversation()
    path = f"/api/chat/{conversation}/stream"
    never_asked = await alice.get(path)
    last = event_ids(await ask(alice, conversation, **STRICT))[-1]

    seen = await alice.get(path, headers={"Last-Event-ID": last})
    beyond = await alice.get(f"{path}?after=999")

    assert (never_asked.status_code, seen.status_code, beyond.status_code) == (204, 204, 204)
    assert never_asked.content == seen.content == b""


async def test_the_header_of_a_reconnection_goes_before_the_query_of_its_address(alice: Client) -> None:
    conversation = await alice.new_conversation()
    ids = event_ids(await ask(alice, conversation, **STRICT))

    reply = await alice.get(f"/api/chat/{conversation}/stream?after=1", headers={**STRICT, "Last-Event-ID": ids[2]})

    assert event_ids(reply) == ids[3:]


async def test_a_post_with_a_known_event_id_goes_on_and_asks_nothing(alice: Client, model: ScriptedChatModel) -> None:
    conversation = await alice.new_conversation()
    ids = event_ids(await ask(alice, conversation, **STRICT))

    rest = await ask(alice, conversation, **STRICT, **{"Last-Event-ID": ids[1]})
    nothing = await ask(alice, conversation, **STRICT, **{"Last-Event-ID": ids[-1]})

    assert (rest.status_code, nothing.status_code) == (200, 200)
    assert event_ids(rest) == ids[2:]
    assert nothing.content == b""
    assert len(model.requests) == 1


async def test_another_question_with_a_known_event_id_is_a_new_turn(alice: Client, model: ScriptedChatModel) -> None:
    conversation = await alice.new_conversation()
    ids = event_ids(await ask(alice, conversation, "First", **STRICT))

    reply = await ask(alice, conversation, "Second", **STRICT, **{"Last-Event-ID": ids[-1]})
    repeated = await ask(alice, conversation, "First", **STRICT, **{"Last-Event-ID": ids[1]})

    assert event_ids(reply)[0].endswith(".1")
    assert event_ids(repeated) == ids[2:]
    assert [message["content"] for message in await alice.history(conversation)][::2] == ["First", "Second"]
    assert len(model.requests) == 2


async def test_a_question_to_a_knowledge_base_is_resumed_only_when_it_is_repeated(
    alice: Client, model: ScriptedChatModel
) -> None:
    conversation, kb_id = await alice.new_conversation(), await alice.new_knowledge_base()
    await alice.new_document(kb_id)

    async def ask_about(message: str, **headers: str) -> list[str]:
        body = {"conversation_id": conversation, "kb_id": kb_id, "message": message}
        return event_ids(await alice.post("/api/rag/chat", body, headers={**STRICT, **headers}))

    ids = await ask_about("不可抗力条款")
    repeated = await ask_about("不可抗力条款", **{"Last-Event-ID": ids[0]})
    other = await ask_about("什么是不可抗力条款", **{"Last-Event-ID": ids[0]})

    assert repeated == ids[1:]
    assert other[0].endswith(".1")
    assert len([request for request in model.requests if request.turns[0].text != REWRITING]) == 2


@pytest.mark.parametrize("event_id", ["", "5", "x", "1.x", "4242.1", "1.1.1", "٣.1", ".", "99999999999999999999.1"])
async def test_a_post_with_an_unknown_event_id_is_a_new_question(
    alice: Client, model: ScriptedChatModel, event_id: str
) -> None:
    conversation = await alice.new_conversation()
    await ask(alice, conversation)

    headers: dict[str, Any] = {"Last-Event-ID": event_id.encode()}
    reply = await ask(alice, conversation, **headers)

    assert reply.status_code == 200
    assert len(model.requests) == 2


async def test_an_answer_of_another_conversation_is_not_resumed_here(alice: Client, model: ScriptedChatModel) -> None:
    first, second = await alice.new_conversation(), await alice.new_conversation()
    ids = event_ids(await ask(alice, first, **STRICT))

    reply = await ask(alice, second, **STRICT, **{"Last-Event-ID": ids[0]})

    assert event_ids(reply)[0] != ids[0]
    assert len(model.requests) == 2


async def test_stop_without_a_running_answer_is_no_error(alice: Client) -> None:
    conversation = await alice.new_conversation()

    reply = await alice.post(f"/api/chat/{conversation}/stop")

    assert reply.status_code == 200
    assert reply.json() == {"message": "No answer is running"}


async def test_stop_before_the_first_word_leaves_an_empty_marked_answer(
    alice: Client, model: ScriptedChatModel
) -> None:
    conversation = await alice.new_conversation()
    model.play_next(FOREVER)
    asked = asyncio.create_task(ask(alice, conversation))
    await model.asked()

    await alice.post(f"/api/chat/{conversation}/stop")

    reply = await asked
    assert reply.status_code == 200
    assert [block["event"] for block in blocks(reply)] == ["stream_error"]
    assert (await alice.history(conversation))[1]["reason"] == "stopped"


# Knowledge bases -----------------------------------------------------------------------------------------------------


async def test_citations_are_for_strict_readers(alice: Client, model: ScriptedChatModel) -> None:
    kb_id, conversation = await alice.new_knowledge_base(), await alice.new_conversation()
    doc_id = await alice.new_document(kb_id)
    body = {"conversation_id": conversation, "kb_id": kb_id, "message": "什么是不可抗力条款?"}
    model.play_next("不可抗力 [1]")

    reply = await alice.post("/api/rag/chat", body, headers=STRICT)
    model.play_next("不可抗力")  # the question, rewritten
    model.play_next("不可抗力 [1]")
    plain = await alice.post("/api/rag/chat", body)

    assert re.findall(r"^event: (\w+)$", reply.text, re.MULTILINE) == ["message", "citations", "done", "full_response"]
    data = re.search(r"^event: citations\ndata: (.*)$", reply.text, re.MULTILINE)
    assert data
    citation = json.loads(data[1])["data"][0]
    assert citation["number"] == 1
    assert citation["doc_id"] == doc_id
    assert citation["doc_name"] == "合同协议.txt"
    assert citation["verified"] is True
    assert citation["quote"] == CONTRACT[citation["start"] : citation["end"]]
    assert citation["claims"][0].keys() == {"answer_start", "answer_end", "start", "end"}
    assert json.loads(data[1])["relevance"] == "high"
    answers = (await alice.history(conversation))[1::2]
    assert [answer["citations"] for answer in answers] == [[citation], [citation]]
    assert [block["event"] for block in blocks(plain)] == ["message", "done", "full_response"]


async def test_the_question_is_stored_as_typed_and_the_passages_are_not(alice: Client) -> None:
    kb_id, conversation = await alice.new_knowledge_base(), await alice.new_conversation()
    await alice.new_document(kb_id)

    await alice.post(
        "/api/rag/chat", {"conversation_id": conversation, "kb_id": kb_id, "message": "什么是不可抗力条款?"}
    )

    assert [message["content"] for message in await alice.history(conversation)] == [
        "什么是不可抗力条款?",
        "Rust 是一种系统编程语言",
    ]


# Refusals ------------------------------------------------------------------------------------------------------------


async def test_models_and_keys_are_checked_at_creation(tmp_path: Path) -> None:
    model = ScriptedChatModel(models={"gpt-4o"}, key_required=True)
    async with memory_backend(tmp_path, chat_model=model) as backend:
        transport = ASGITransport(create_app(backend))  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            alice = await Client(http).new_user()
            create = "/api/conversations/create"

            unknown = await alice.post(create, {"title": "x", "model": "nothing-1", "api_key": "k"})
            keyless = await alice.post(create, {"title": "x", "model": "gpt-4o"})
            empty_key = await alice.post(create, {"title": "x", "model": "gpt-4o", "api_key": ""})
            keyed = await alice.post(create, {"title": "x", "model": "gpt-4o", "api_key": "k"})

    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_model")
    assert (keyless.status_code, keyless.json()["code"]) == (400, "api_key_required")
    assert (empty_key.status_code, empty_key.json()["code"]) == (400, "api_key_required")
    assert keyed.status_code == 200


async def test_a_server_that_is_shutting_down_takes_no_questions(alice: Client, backend: Backend) -> None:
    conversation = await alice.new_conversation()
    await backend.drain()

    reply = await ask(alice, conversation)

    assert reply.status_code == 503
    assert reply.json()["code"] == "shutting_down"
