"""Documents that are read in while nobody waits, or while somebody does: status, events, cancelling."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from httpx import AsyncClient, Response
from httpx_sse import EventSource, ServerSentEvent

from llm_backend.application.backend import Backend
from llm_backend.domain.errors import DocumentEmpty, DocumentEncrypted, DocumentUnreadable
from llm_backend.interface.http.options import HttpOptions
from tests.http.apps import app_over
from tests.http.backends import PlainTextParser
from tests.http.clients import NO_CERTIFICATES, Client
from tests.live import serving

SOON = 20.0  # seconds, after which a test that waits for something has failed
KEY = {"Idempotency-Key": "3f1c"}


@asynccontextmanager
async def served(backend: Backend, user: Client, **options: Any) -> AsyncIterator[Client]:
    """The same user on a real socket."""
    with app_over(backend, HttpOptions(**options)) as app:
        async with (
            serving(app) as server,
            AsyncClient(base_url=server.url, timeout=SOON, verify=NO_CERTIFICATES) as http,
        ):
            yield Client(http, user.token)


async def events_of(reply: Response) -> list[ServerSentEvent]:
    return [event async for event in EventSource(reply).aiter_sse()]


async def listed(user: Client, kb_id: str) -> list[str]:
    reply = await user.get("/api/rag/doc/list", params={"kb_id": kb_id})
    return [document["doc_id"] for document in reply.json()["docs"]]


async def held_up(user: Client, parser: PlainTextParser, kb_id: str, **options: Any) -> str:
    """A document that is being parsed, until `parser.go_on` is set."""
    parser.slowly = True
    document = await user.submit(kb_id, **options)
    await parser.began.wait()
    return document


async def test_an_accepted_document_becomes_ready(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    reply = await alice.upload(kb_id, params={"wait": "false"})

    doc_id = reply.json()["doc_id"]
    assert reply.status_code == 202
    assert reply.json() == {"success": True, "doc_id": doc_id, "message": "文档已接收,正在处理"}
    assert reply.headers["location"] == f"/api/rag/doc/status?doc_id={doc_id}"
    assert await alice.settled(doc_id) == {
        "success": True,
        "doc_id": doc_id,
        "kb_id": kb_id,
        "doc_name": "合同协议.txt",
        "state": "ready",
        "step": "done",
        "percent": 100,
        "chunks": 1,
        "message": "文档处理完成",
    }
    assert await listed(alice, kb_id) == [doc_id]


async def test_a_document_that_is_read_in_is_pending_and_not_listed(alice: Client, parser: PlainTextParser) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await held_up(alice, parser, kb_id)

    status = await alice.status(doc_id)

    assert (status["state"], status["message"]) == ("pending", "文档正在处理")
    assert await listed(alice, kb_id) == []
    found = await alice.post("/api/rag/retrieve", {"kb_id": kb_id, "query": "不可抗力条款"})
    assert found.json()["results"] == []
    parser.go_on.set()
    assert (await alice.settled(doc_id))["state"] == "ready"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            DocumentUnreadable(),
            "document_unreadable",
            "文档已损坏，或内容与扩展名不符；请确认能打开，另存后重新上传",
        ),
        (DocumentEncrypted(), "document_encrypted", "文档受密码保护，请移除密码后重新上传"),
        (DocumentEmpty(), "document_empty", "文档中没有文本"),
        (ZeroDivisionError("a secret of the server"), "ingestion_failed", "文档处理失败"),
    ],
)
async def test_a_document_that_cannot_be_read_says_why(
    alice: Client, parser: PlainTextParser, error: Exception, code: str, text: str
) -> None:
    parser.error = error
    kb_id = await alice.new_knowledge_base()
    doc_id = await alice.submit(kb_id)

    status = await alice.settled(doc_id)

    assert (status["success"], status["state"], status["code"], status["message"]) == (False, "failed", code, text)
    assert len(parser.files) == 1  # once is enough for what will not pass
    assert await listed(alice, kb_id) == []
    deleted = await alice.post("/api/rag/doc/delete", {"kb_id": kb_id, "doc_id": doc_id})
    assert deleted.status_code == 200
    assert (await alice.get("/api/rag/doc/status", params={"doc_id": doc_id})).status_code == 404


async def test_a_bug_while_somebody_waits_is_an_error_without_details(alice: Client, parser: PlainTextParser) -> None:
    parser.error = ZeroDivisionError("a secret of the server")

    reply = await alice.upload(await alice.new_knowledge_base())

    assert reply.status_code == 500
    assert reply.json() == {"error": "文档处理失败", "code": "ingestion_failed"}


async def test_events_come_at_once_and_end_with_the_final_state(
    backend: Backend, alice: Client, parser: PlainTextParser
) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await held_up(alice, parser, kb_id)
    headers = {"Authorization": f"Bearer {alice.token}"}

    async with (
        served(backend, alice) as live,
        live.http.stream("GET", "/api/rag/doc/events", params={"doc_id": doc_id}, headers=headers) as reply,
    ):
        events = EventSource(reply).aiter_sse()
        first = await anext(events)
        parser.go_on.set()
        rest = [event async for event in events]

    seen = [json.loads(event.data) for event in (first, *rest)]
    assert {event.event for event in (first, *rest)} == {"status"}
    assert first.retry == 1000
    assert (seen[0]["state"], seen[-1]["state"]) == ("pending", "ready")
    assert [status["percent"] for status in seen] == sorted(status["percent"] for status in seen)
    assert seen[-1] == await alice.status(doc_id)
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.headers["cache-control"] == "no-cache"


SILENCE = b"\n\n: ping\n: ping\n: ping\n"


async def test_a_silent_stream_is_kept_alive_by_comments_of_one_line(
    backend: Backend, alice: Client, parser: PlainTextParser
) -> None:
    doc_id = await held_up(alice, parser, await alice.new_knowledge_base())
    headers = {"Authorization": f"Bearer {alice.token}"}

    async with (
        served(backend, alice, keep_alive=timedelta(milliseconds=20)) as live,
        live.http.stream("GET", "/api/rag/doc/events", params={"doc_id": doc_id}, headers=headers) as reply,
    ):
        body = b""
        async for piece in reply.aiter_bytes():
            body += piece
            if SILENCE in body:  # and not three in all: a step may come between them
                parser.go_on.set()

    assert SILENCE in body
    assert b": ping\n\n" not in body
    assert body.endswith(b"}\n\n")


async def test_the_events_of_what_is_settled_are_one(alice: Client) -> None:
    doc_id = await alice.new_document(await alice.new_knowledge_base())

    reply = await alice.get("/api/rag/doc/events", params={"doc_id": doc_id})

    assert reply.text.count("event: status\n") == 1
    assert '"state":"ready"' in reply.text


async def test_the_events_of_a_document_that_is_deleted_end(alice: Client, parser: PlainTextParser) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await held_up(alice, parser, kb_id)

    following = asyncio.create_task(alice.get("/api/rag/doc/events", params={"doc_id": doc_id}))
    deleted = await alice.post("/api/rag/doc/delete", {"kb_id": kb_id, "doc_id": doc_id})
    reply = await following

    assert deleted.status_code == 200
    if reply.status_code == 200:  # it had begun before
        assert reply.text.endswith(
            'event: stream_error\ndata: {"code":"document_not_found","message":"文档不存在"}\n\n'
        )
    else:
        assert reply.status_code == 404


async def test_a_cancelled_document_has_failed(alice: Client, parser: PlainTextParser) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await held_up(alice, parser, kb_id)

    reply = await alice.post("/api/rag/doc/cancel", {"doc_id": doc_id})

    assert reply.status_code == 200
    assert (reply.json()["state"], reply.json()["code"]) == ("failed", "ingestion_cancelled")
    assert reply.json()["message"] == "文档处理已取消"
    assert await listed(alice, kb_id) == []
    parser.slowly = False
    await alice.new_document(kb_id)  # whoever was at it is free again


async def test_cancelling_what_is_ready_changes_nothing(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await alice.new_document(kb_id)

    reply = await alice.post("/api/rag/doc/cancel", {"doc_id": doc_id})

    assert (reply.status_code, reply.json()["state"]) == (200, "ready")
    assert await listed(alice, kb_id) == [doc_id]


async def test_whoever_waits_for_a_document_that_is_cancelled_gets_a_clean_answer(
    backend: Backend, alice: Client, parser: PlainTextParser
) -> None:
    kb_id = await alice.new_knowledge_base()
    parser.slowly = True
    waiting = asyncio.create_task(alice.upload(kb_id, headers=KEY))
    await parser.began.wait()
    doc_id = await alice.submit(kb_id, headers=KEY)  # the same one

    await alice.post("/api/rag/doc/cancel", {"doc_id": doc_id})
    reply = await waiting

    assert reply.status_code == 409
    assert reply.json() == {"error": "文档处理已取消", "code": "ingestion_cancelled"}


@pytest.mark.parametrize(("path", "code"), [("doc", "document_not_found"), ("kb", "knowledge_base_not_found")])
async def test_whoever_waits_for_a_document_that_is_deleted_is_told(
    alice: Client, parser: PlainTextParser, path: str, code: str
) -> None:
    kb_id = await alice.new_knowledge_base()
    parser.slowly = True
    waiting = asyncio.create_task(alice.upload(kb_id, headers=KEY))
    await parser.began.wait()
    doc_id = await alice.submit(kb_id, headers=KEY)

    await alice.post(f"/api/rag/{path}/delete", {"kb_id": kb_id, "doc_id": doc_id})
    reply = await waiting

    assert (reply.status_code, reply.json()["code"]) == (404, code)
    parser.go_on.set()


async def test_whoever_hangs_up_while_waiting_does_not_stop_it(
    backend: Backend, alice: Client, parser: PlainTextParser
) -> None:
    kb_id = await alice.new_knowledge_base()
    parser.slowly = True

    async with served(backend, alice) as live:
        waiting = asyncio.create_task(live.upload(kb_id, headers=KEY))
        await parser.began.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        parser.go_on.set()
        doc_id = await alice.submit(kb_id, headers=KEY)
        status = await alice.settled(doc_id)

    assert status["state"] == "ready"
    assert await listed(alice, kb_id) == [doc_id]


async def test_the_same_key_gives_the_same_document_whether_one_waits_or_not(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    first = await alice.submit(kb_id, headers=KEY)
    again = await alice.submit(kb_id, headers=KEY)
    waited = await alice.upload(kb_id, headers=KEY)
    other = await alice.upload(kb_id, "b.txt", headers=KEY, params={"wait": "false"})

    assert first == again == waited.json()["doc_id"]
    assert waited.json()["message"] == "文档上传处理成功,共分割并添加 1 个文本块"
    assert other.status_code == 409
    assert await listed(alice, kb_id) == [first]


async def test_after_a_failure_the_same_key_tries_again(alice: Client, parser: PlainTextParser) -> None:
    kb_id = await alice.new_knowledge_base()
    parser.error = DocumentUnreadable()
    failed = await alice.submit(kb_id, headers=KEY)
    await alice.settled(failed)
    parser.error = None

    again = await alice.upload(kb_id, headers=KEY)

    assert again.status_code == 200
    assert await listed(alice, kb_id) == [again.json()["doc_id"]]


@pytest.mark.parametrize("wait", ["maybe", "", "2", "no%20way"])
async def test_waiting_is_a_yes_or_no(alice: Client, wait: str) -> None:
    reply = await alice.upload(await alice.new_knowledge_base(), params={"wait": wait})

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_parameter")


async def test_many_documents_wait_for_their_turn_and_all_come_in(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    submitted = await asyncio.gather(
        *(alice.submit(kb_id, f"{number}.txt", f"number {number}".encode()) for number in range(20))
    )
    states = [(await alice.settled(doc_id))["state"] for doc_id in submitted]

    assert states == ["ready"] * 20
    assert sorted(await listed(alice, kb_id)) == sorted(submitted)
