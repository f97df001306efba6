"""Nobody reaches anything of somebody else's, on any route: what is not theirs looks absent.

The table below names every route. A route that is missing from it fails the first test.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
from httpx import Response
from litestar.routes import HTTPRoute

from llm_backend.application.backend import Backend
from llm_backend.interface.http.app import litestar_app
from llm_backend.interface.http.options import HttpOptions
from tests.http.clients import Client

MISSING_ID = 4242
MISSING_UUID = "a1b2c3d4-5678-90ab-cdef-123456789abc"

PUBLIC = {"POST /api/users/register", "POST /api/users/login", "GET /healthz", "GET /readyz"}
OWN_ALONE = {  # these name nothing that could be somebody else's
    "POST /api/users/logout",
    "POST /api/users/password",
    "POST /api/conversations/create",
    "GET /api/conversations/list",
    "POST /api/rag/kb/create",
    "GET /api/rag/kb/list",
    "GET /api/rag/models",
    "POST /api/keys",
    "GET /api/keys",
    "GET /v1/models",
    "POST /v1/files",
    "GET /v1/files",
    "GET /v1/vector_stores",
    "POST /v1/conversations",
    "POST /v1/embeddings",
    "GET /api/usage",
}


@dataclass(frozen=True)
class Belongings:
    """What somebody has, or the ids of nothing."""

    conversation: int = MISSING_ID
    kb: str = MISSING_UUID
    doc: str = MISSING_UUID
    key: str = MISSING_UUID
    file: str = "file-" + MISSING_UUID.replace("-", "")
    store: str = "vs_" + MISSING_UUID.replace("-", "")
    batch: str = "vsfb_" + MISSING_UUID.replace("-", "")
    response: int = MISSING_ID


# Each route that names a thing, and requests that name things of `mine` and of `theirs`.
NAMING: dict[str, list[Any]] = {
    "GET /api/conversations/history/{conversation_id}": [
        lambda _, theirs: ("GET", f"/api/conversations/history/{theirs.conversation}", {}),
    ],
    "POST /api/conversations/del/{conversation_id}": [
        lambda _, theirs: ("POST", f"/api/conversations/del/{theirs.conversation}", {}),
    ],
    "POST /api/chat/{conversation_id}": [
        lambda _, theirs: ("POST", f"/api/chat/{theirs.conversation}", {"json": {"message": "Hello"}}),
        lambda _, theirs: ("POST", f"/api/chat/{theirs.conversation}", {"json": {"nothing": "right"}}),
    ],
    "GET /api/chat/{conversation_id}/stream": [
        lambda _, theirs: ("GET", f"/api/chat/{theirs.conversation}/stream", {}),
        lambda _, theirs: ("GET", f"/api/chat/{theirs.conversation}/stream?after=1", {}),
    ],
    "POST /api/chat/{conversation_id}/stop": [
        lambda _, theirs: ("POST", f"/api/chat/{theirs.conversation}/stop", {}),
    ],
    "POST /api/rag/kb/delete": [
        lambda _, theirs: ("POST", "/api/rag/kb/delete", {"json": {"kb_id": theirs.kb}}),
    ],
    "POST /api/rag/kb/reindex": [
        lambda _, theirs: (
            "POST",
            "/api/rag/kb/reindex",
            {"json": {"kb_id": theirs.kb, "embedding_model": "zhipu-embedding-2"}},
        ),
        lambda _, theirs: ("POST", "/api/rag/kb/reindex", {"json": {"kb_id": theirs.kb, "embedding_model": "?"}}),
    ],
    "GET /api/rag/kb/reindex/status": [
        lambda _, theirs: ("GET", f"/api/rag/kb/reindex/status?kb_id={theirs.kb}", {}),
    ],
    "POST /api/rag/kb/reindex/cancel": [
        lambda _, theirs: ("POST", "/api/rag/kb/reindex/cancel", {"json": {"kb_id": theirs.kb}}),
    ],
    "POST /api/rag/kb/reindex/rollback": [
        lambda _, theirs: ("POST", "/api/rag/kb/reindex/rollback", {"json": {"kb_id": theirs.kb}}),
    ],
    "POST /api/rag/doc/upload": [
        lambda _, theirs: (
            "POST",
            "/api/rag/doc/upload",
            {"data": {"kb_id": theirs.kb}, "files": {"file": ("a.txt", b"text")}},
        ),
        lambda _, theirs: (
            "POST",
            "/api/rag/doc/upload?wait=false",
            {"data": {"kb_id": theirs.kb}, "files": {"file": ("a.txt", b"text")}},
        ),
    ],
    "GET /api/rag/doc/list": [
        lambda _, theirs: ("GET", f"/api/rag/doc/list?kb_id={theirs.kb}", {}),
    ],
    "POST /api/rag/doc/delete": [
        lambda _, theirs: ("POST", "/api/rag/doc/delete", {"json": {"kb_id": theirs.kb, "doc_id": theirs.doc}}),
        lambda mine, theirs: ("POST", "/api/rag/doc/delete", {"json": {"kb_id": mine.kb, "doc_id": theirs.doc}}),
    ],
    "GET /api/rag/doc/status": [
        lambda _, theirs: ("GET", f"/api/rag/doc/status?doc_id={theirs.doc}", {}),
    ],
    "GET /api/rag/doc/events": [
        lambda _, theirs: ("GET", f"/api/rag/doc/events?doc_id={theirs.doc}", {}),
    ],
    "GET /api/rag/doc/chunks": [
        lambda _, theirs: ("GET", f"/api/rag/doc/chunks?doc_id={theirs.doc}", {}),
    ],
    "GET /api/rag/doc/content": [
        lambda _, theirs: ("GET", f"/api/rag/doc/content?doc_id={theirs.doc}", {}),
        lambda _, theirs: ("GET", f"/api/rag/doc/content?doc_id={theirs.doc}&original=true", {}),
    ],
    "POST /api/rag/doc/attributes": [
        lambda _, theirs: ("POST", "/api/rag/doc/attributes", {"json": {"doc_id": theirs.doc, "attributes": {"k": 1}}}),
    ],
    "POST /api/rag/doc/cancel": [
        lambda _, theirs: ("POST", "/api/rag/doc/cancel", {"json": {"doc_id": theirs.doc}}),
    ],
    "POST /api/rag/retrieve": [
        lambda _, theirs: ("POST", "/api/rag/retrieve", {"json": {"kb_id": theirs.kb, "query": "what"}}),
        lambda mine, theirs: ("POST", "/api/rag/retrieve", {"json": {"kb_ids": [mine.kb, theirs.kb], "query": "what"}}),
    ],
    "POST /api/keys/delete": [
        lambda _, theirs: ("POST", "/api/keys/delete", {"json": {"key_id": theirs.key}}),
    ],
    "GET /v1/models/{name}": [
        lambda _, theirs: ("GET", f"/v1/models/kb:{theirs.kb}", {}),
    ],
    "POST /v1/chat/completions": [
        lambda _, theirs: (
            "POST",
            "/v1/chat/completions",
            {"json": {"model": f"kb:{theirs.kb}", "messages": [{"role": "user", "content": "不可抗力条款"}]}},
        ),
    ],
    "GET /v1/files/{file_id}": [lambda _, theirs: ("GET", f"/v1/files/{theirs.file}", {})],
    "DELETE /v1/files/{file_id}": [
        lambda _, theirs: ("DELETE", f"/v1/files/{theirs.file}", {}),
        lambda _, theirs: ("DELETE", f"/v1/files/file-{theirs.doc.replace('-', '')}", {}),
    ],
    "GET /v1/files/{file_id}/content": [
        lambda _, theirs: ("GET", f"/v1/files/{theirs.file}/content", {}),
        lambda _, theirs: ("GET", f"/v1/files/file-{theirs.doc.replace('-', '')}/content", {}),
    ],
    "POST /v1/vector_stores": [
        lambda _, theirs: ("POST", "/v1/vector_stores", {"json": {"file_ids": [theirs.file]}}),
    ],
    "GET /v1/vector_stores/{vector_store_id}": [lambda _, theirs: ("GET", f"/v1/vector_stores/{theirs.store}", {})],
    "POST /v1/vector_stores/{vector_store_id}": [
        lambda _, theirs: ("POST", f"/v1/vector_stores/{theirs.store}", {"json": {"name": "Mine"}}),
    ],
    "DELETE /v1/vector_stores/{vector_store_id}": [
        lambda _, theirs: ("DELETE", f"/v1/vector_stores/{theirs.store}", {}),
    ],
    "POST /v1/vector_stores/{vector_store_id}/search": [
        lambda _, theirs: ("POST", f"/v1/vector_stores/{theirs.store}/search", {"json": {"query": "what"}}),
    ],
    "POST /v1/vector_stores/{vector_store_id}/files": [
        lambda mine, theirs: _attach(theirs.store, mine.file),
        lambda mine, theirs: _attach(mine.store, theirs.file),
        lambda mine, theirs: _attach(mine.store, f"file-{theirs.doc.replace('-', '')}"),
    ],
    "GET /v1/vector_stores/{vector_store_id}/files": [
        lambda _, theirs: ("GET", f"/v1/vector_stores/{theirs.store}/files", {}),
    ],
    "GET /v1/vector_stores/{vector_store_id}/files/{file_id}": [
        lambda _, theirs: ("GET", f"/v1/vector_stores/{theirs.store}/files/{theirs.file}", {}),
        lambda mine, theirs: ("GET", f"/v1/vector_stores/{mine.store}/files/{theirs.file}", {}),
    ],
    "POST /v1/vector_stores/{vector_store_id}/files/{file_id}": [
        lambda _, theirs: _describe(theirs.store, theirs.file),
        lambda mine, theirs: _describe(mine.store, theirs.file),
    ],
    "DELETE /v1/vector_stores/{vector_store_id}/files/{file_id}": [
        lambda _, theirs: ("DELETE", f"/v1/vector_stores/{theirs.store}/files/{theirs.file}", {}),
        lambda mine, theirs: ("DELETE", f"/v1/vector_stores/{mine.store}/files/{theirs.file}", {}),
    ],
    "GET /v1/vector_stores/{vector_store_id}/files/{file_id}/content": [
        lambda _, theirs: ("GET", f"/v1/vector_stores/{theirs.store}/files/{theirs.file}/content", {}),
        lambda mine, theirs: ("GET", f"/v1/vector_stores/{mine.store}/files/{theirs.file}/content", {}),
    ],
    "POST /v1/vector_stores/{vector_store_id}/file_batches": [
        lambda mine, theirs: _batch(theirs.store, mine.file),
        lambda mine, theirs: _batch(mine.store, theirs.file),
    ],
    "GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}": [
        lambda _, theirs: ("GET", f"/v1/vector_stores/{theirs.store}/file_batches/{theirs.batch}", {}),
        lambda mine, theirs: ("GET", f"/v1/vector_stores/{mine.store}/file_batches/{theirs.batch}", {}),
    ],
    "POST /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel": [
        lambda _, theirs: ("POST", f"/v1/vector_stores/{theirs.store}/file_batches/{theirs.batch}/cancel", {}),
        lambda mine, theirs: ("POST", f"/v1/vector_stores/{mine.store}/file_batches/{theirs.batch}/cancel", {}),
    ],
    "GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/files": [
        lambda _, theirs: ("GET", f"/v1/vector_stores/{theirs.store}/file_batches/{theirs.batch}/files", {}),
        lambda mine, theirs: ("GET", f"/v1/vector_stores/{mine.store}/file_batches/{theirs.batch}/files", {}),
    ],
    "POST /v1/responses": [
        lambda _, theirs: _respond({"previous_response_id": f"resp_{theirs.response}"}),
        lambda _, theirs: _respond({"conversation": f"conv_{theirs.conversation}"}),
    ],
    "POST /v1/responses/input_tokens": [
        lambda _, theirs: _respond({"previous_response_id": f"resp_{theirs.response}"}, "/input_tokens"),
    ],
    "POST /v1/responses/compact": [
        lambda _, theirs: _respond({"previous_response_id": f"resp_{theirs.response}"}, "/compact"),
    ],
    "GET /v1/responses/{response_id}": [
        lambda _, theirs: ("GET", f"/v1/responses/resp_{theirs.response}", {}),
        lambda _, theirs: ("GET", f"/v1/responses/resp_{theirs.response}?stream=true", {}),
    ],
    "DELETE /v1/responses/{response_id}": [
        lambda _, theirs: ("DELETE", f"/v1/responses/resp_{theirs.response}", {}),
    ],
    "POST /v1/responses/{response_id}/cancel": [
        lambda _, theirs: ("POST", f"/v1/responses/resp_{theirs.response}/cancel", {}),
    ],
    "GET /v1/responses/{response_id}/input_items": [
        lambda _, theirs: ("GET", f"/v1/responses/resp_{theirs.response}/input_items", {}),
    ],
    "GET /v1/conversations/{conversation_id}": [
        lambda _, theirs: ("GET", f"/v1/conversations/conv_{theirs.conversation}", {}),
    ],
    "POST /v1/conversations/{conversation_id}": [
        lambda _, theirs: ("POST", f"/v1/conversations/conv_{theirs.conversation}", {"json": {"metadata": {"a": "b"}}}),
    ],
    "DELETE /v1/conversations/{conversation_id}": [
        lambda _, theirs: ("DELETE", f"/v1/conversations/conv_{theirs.conversation}", {}),
    ],
    "GET /v1/conversations/{conversation_id}/items": [
        lambda _, theirs: ("GET", f"/v1/conversations/conv_{theirs.conversation}/items", {}),
    ],
    "POST /v1/conversations/{conversation_id}/items": [
        lambda _, theirs: (
            "POST",
            f"/v1/conversations/conv_{theirs.conversation}/items",
            {"json": {"items": [{"role": "user", "content": "Hello"}]}},
        ),
    ],
    "GET /v1/conversations/{conversation_id}/items/{item_id}": [
        lambda _, theirs: ("GET", _first_item(theirs), {}),
    ],
    "DELETE /v1/conversations/{conversation_id}/items/{item_id}": [
        lambda _, theirs: ("DELETE", _first_item(theirs), {}),
    ],
    "POST /api/rag/chat": [
        lambda mine, theirs: _rag_chat(theirs.conversation, mine.kb),
        lambda mine, theirs: _rag_chat(mine.conversation, theirs.kb),
    ],
}


def _attach(store: str, file: str) -> tuple[str, str, dict[str, Any]]:
    return "POST", f"/v1/vector_stores/{store}/files", {"json": {"file_id": file}}


def _describe(store: str, file: str) -> tuple[str, str, dict[str, Any]]:
    return "POST", f"/v1/vector_stores/{store}/files/{file}", {"json": {"attributes": {"mine": True}}}


def _batch(store: str, file: str) -> tuple[str, str, dict[str, Any]]:
    return "POST", f"/v1/vector_stores/{store}/file_batches", {"json": {"file_ids": [file]}}


def _respond(fields: dict[str, Any], path: str = "") -> tuple[str, str, dict[str, Any]]:
    return "POST", f"/v1/responses{path}", {"json": {"model": "gpt-4o", "input": "Hello", **fields}}


def _first_item(theirs: "Belongings") -> str:
    return f"/v1/conversations/conv_{theirs.conversation}/items/msg_{theirs.conversation}_1_0"


def _rag_chat(conversation: int, kb: str) -> tuple[str, str, dict[str, Any]]:
    body = {"conversation_id": conversation, "kb_id": kb, "message": "不可抗力条款"}
    return "POST", "/api/rag/chat", {"json": body}


async def belongings_of(user: Client) -> Belongings:
    kb = await user.new_knowledge_base()
    file, store = await user.new_file(), await user.new_vector_store()
    belongings = Belongings(
        conversation=await user.new_conversation(),
        kb=kb,
        doc=await user.new_document(kb),
        key=await user.new_key(),
        file=file,
        store=store,
        batch=await user.new_file_batch(store, [file]),
    )
    await user.post(f"/api/chat/{belongings.conversation}", {"message": "Hello"})
    response = await user.post("/v1/responses", {"model": "gpt-4o", "input": "Hello"})
    return replace(belongings, response=int(response.json()["id"].removeprefix("resp_")))


async def everything_of(user: Client, belongings: Belongings) -> list[Any]:
    """All that can be seen of it, and its answer's events."""
    replies = [
        await user.get("/api/conversations/list"),
        await user.get(f"/api/conversations/history/{belongings.conversation}"),
        await user.get(f"/api/chat/{belongings.conversation}/stream"),
        await user.get("/api/rag/kb/list"),
        await user.get(f"/api/rag/doc/list?kb_id={belongings.kb}"),
        await user.get(f"/api/rag/doc/status?doc_id={belongings.doc}"),
        await user.get(f"/api/rag/doc/chunks?doc_id={belongings.doc}"),
        await user.get(f"/api/rag/doc/content?doc_id={belongings.doc}"),
        await user.get(f"/api/rag/doc/content?doc_id={belongings.doc}&original=true"),
        await user.post("/api/rag/retrieve", {"kb_id": belongings.kb, "query": "不可抗力条款"}),
        await user.get("/api/keys"),
        await user.get("/v1/models"),
        await user.get("/v1/files"),
        await user.get(f"/v1/files/{belongings.file}/content"),
        await user.get("/v1/vector_stores"),
        await user.get(f"/v1/vector_stores/{belongings.store}/files"),
        await user.get(f"/v1/vector_stores/{belongings.store}/file_batches/{belongings.batch}"),
        await user.get(f"/v1/responses/resp_{belongings.response}?stream=true"),
        await user.get(f"/v1/conversations/conv_{belongings.conversation}/items"),
    ]
    assert {reply.status_code for reply in replies} == {200}
    return [reply.text for reply in replies]


def code_of(reply: Response) -> str:
    """Of an error, in either envelope."""
    body = reply.json()
    code: str = body["error"]["code"] if isinstance(body["error"], dict) else body["code"]
    return code


def essence(reply: Response) -> tuple[int, str]:
    return reply.status_code, reply.text


@pytest.fixture
def routes(backend: Backend) -> set[str]:
    """Every route of the application, as `METHOD /path`."""
    app = litestar_app(backend, HttpOptions(documentation=False))
    return {
        f"{method} {route.path_format}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != "OPTIONS"
    }


def test_every_route_is_in_the_table(routes: set[str]) -> None:
    assert routes == PUBLIC | OWN_ALONE | set(NAMING)


def family_of(route: str) -> str:
    """Such as `/api/rag/doc` or `/v1/files`."""
    path = route.split()[1].partition("/{")[0].split("/")
    return "/".join(path[: 4 if path[1:3] == ["api", "rag"] else 3])


@pytest.mark.parametrize("family", sorted(set(map(family_of, NAMING))))
async def test_what_is_somebody_elses_looks_absent(family: str, alice: Client, bob: Client) -> None:
    """Routes of one family share what is there: to give both users one of everything costs more than all requests."""
    mine, theirs = await belongings_of(bob), await belongings_of(alice)
    before = await everything_of(alice, theirs)
    builds = [(route, build) for route in NAMING if family_of(route) == family for build in NAMING[route]]

    for route, build in builds:
        method, path, options = build(mine, theirs)
        reply = await bob.request(method, path, **options)
        method, path, options = build(mine, Belongings())
        to_nothing = await bob.request(method, path, **options)

        assert reply.status_code == 404, route
        assert essence(reply) == essence(to_nothing), route
    assert await everything_of(alice, theirs) == before


@pytest.mark.parametrize(
    "authorization", [None, "Bearer x.y.z", "Bearer ", "Basic am9objpkb2U=", "x", "Bearer " + "a" * 9000, "Bearer \xff"]
)
async def test_every_other_route_asks_for_a_token(client: Client, authorization: str | None) -> None:
    """Also when the body is no good: 401 goes before 404 and 400."""
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}

    for route in OWN_ALONE | set(NAMING):
        method, path = re.sub(r"{\w+}", "not-even-an-id", route).split()
        reply = await client.request(method, path, headers=headers, content=b"{not json")

        assert reply.status_code == 401, route
        assert code_of(reply) in {"unauthenticated", "invalid_api_key"}
        assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_stream_cannot_be_resumed_by_somebody_elses_event_id(alice: Client, bob: Client) -> None:
    theirs, mine = await alice.new_conversation(), await bob.new_conversation()
    strict = {"Accept": "text/event-stream"}
    stream = await alice.post(f"/api/chat/{theirs}", {"message": "Hello"}, headers=strict)
    event_ids = re.findall(r"^id: (\d+\.\d+)$", stream.text, re.MULTILINE)
    headers = {**strict, "Last-Event-ID": event_ids[0]}

    at_theirs = await bob.get(f"/api/chat/{theirs}/stream", headers=headers)
    at_mine = await bob.get(f"/api/chat/{mine}/stream", headers=headers)
    sent = await bob.post(f"/api/chat/{theirs}", {"message": "Hello"}, headers=headers)

    assert at_theirs.status_code == 404
    assert at_mine.status_code == 204
    assert sent.status_code == 404


async def test_ids_are_no_place_for_sql(alice: Client, bob: Client) -> None:
    theirs = await belongings_of(alice)
    before = await everything_of(alice, theirs)
    conversation = await bob.new_conversation()
    named = [name for name in NAMING if "/rag/" in name]

    for kb_id in ("x' OR '1'='1", "' OR 1=1 --", '"', "%", "*", "../..", "法律"):
        belongings = Belongings(kb=kb_id, doc=kb_id, conversation=conversation)
        for name in named:
            method, path, options = NAMING[name][-1](belongings, belongings)
            assert (await bob.request(method, path, **options)).status_code == 404, (name, kb_id)

    assert await everything_of(alice, theirs) == before


async def test_ids_are_not_a_sequence(alice: Client) -> None:
    ids = [await alice.new_conversation() for _ in range(5)]

    assert all(abs(a - b) > 1000 for a in ids for b in ids if a is not b)
    assert all(0 < number < 2**53 for number in ids)


async def test_an_owner_named_in_a_body_is_ignored(alice: Client, bob: Client) -> None:
    conversation = await alice.new_conversation(id=7, owner=1, user_id=1, created_time=1)

    assert conversation != 7
    assert (await bob.get("/api/conversations/list")).json() == []
    assert [line["conversation_id"] for line in (await alice.get("/api/conversations/list")).json()] == [conversation]
