"""Whatever is sent, the reply is an error of the documented form, and never one of the server's."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_backend.application.backend import Backend
from llm_backend.domain.errors import DomainError
from llm_backend.infrastructure.redis.connection import RedisAway
from llm_backend.interface.http.rag_texts import RAG_TEXTS
from tests.http.apps import app_over
from tests.http.clients import Client

MISSING_ID = 4242
MISSING_UUID = "a1b2c3d4-5678-90ab-cdef-123456789abc"
# Every route that reads a JSON body, with a good one; `{conversation}` and `{kb}` are filled in.
BODIES: dict[str, dict[str, Any]] = {
    "/api/users/register": {"username": "x", "password": "y"},
    "/api/users/login": {"username": "x", "password": "y"},
    "/api/users/password": {"old_password": "x", "new_password": "y"},
    "/api/conversations/create": {"title": "x", "model": "gpt-4o"},
    "/api/chat/{conversation}": {"message": "x"},
    "/api/keys": {"name": "x"},
    "/api/keys/delete": {"key_id": "x"},
    "/api/rag/kb/create": {"kb_name": "x"},
    "/api/rag/kb/delete": {"kb_id": "{kb}"},
    "/api/rag/kb/reindex": {"kb_id": "{kb}", "embedding_model": "zhipu-embedding-2"},
    "/api/rag/kb/reindex/cancel": {"kb_id": "{kb}"},
    "/api/rag/kb/reindex/rollback": {"kb_id": "{kb}"},
    "/api/rag/doc/delete": {"kb_id": "{kb}", "doc_id": "x"},
    "/api/rag/doc/cancel": {"doc_id": "x"},
    "/api/rag/doc/attributes": {"doc_id": "x"},
    "/api/rag/retrieve": {"kb_id": "{kb}", "query": "x"},
    "/api/rag/chat": {"conversation_id": 1, "kb_id": "{kb}", "message": "x"},
}
BROKEN = {
    "nothing": b"",
    "null": b"null",
    "an array": b"[]",
    "a number": b"1",
    "a text": b'"x"',
    "cut short": b'{"title": "x',
    "not JSON": b"{'title': 'x'}",
    "two values": b"{} {}",
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep inside an unknown field": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "bad UTF-8": b'{"title": "\xff\xfe"}',
    "bad UTF-8 in an unknown field": b'{"a": "\xff"}',
    "half a surrogate pair": b'{"title": "\\ud800"}',
    "form data": b"title=x&model=y",
    "binary": bytes(range(256)),
}


def assert_error(reply: Any, status: int, code: str | None = None) -> None:
    assert reply.status_code == status, reply.text
    assert list(reply.json()) == ["error", "code"]
    assert reply.json()["error"]
    assert code is None or reply.json()["code"] == code
    assert reply.headers["x-request-id"]
    assert reply.headers["cache-control"] == "no-store"


async def test_the_bodies_cover_all_routes(backend: Backend) -> None:
    with app_over(backend) as app:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as http:  # type: ignore[arg-type]
            paths = (await http.get("/schema/openapi.json")).json()["paths"]

    reading = {
        path.replace("{conversation_id}", "{conversation}")
        for path, operations in paths.items()
        if path.startswith("/api/")  # those under /v1 have an envelope of their own, and are asked in tests/http/openai
        and "application/json" in operations.get("post", {}).get("requestBody", {}).get("content", {})
    }
    assert reading == set(BODIES)


@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_bodies_are_refused_on_every_route(alice: Client, broken: str) -> None:
    conversation = await alice.new_conversation()

    for route in BODIES:
        reply = await alice.post(route.format(conversation=conversation, kb=MISSING_UUID), content=BROKEN[broken])

        assert_error(reply, 400)
    assert await alice.history(conversation) == []


@pytest.mark.parametrize("value", [5, None, True, [], {}, 1.5])
async def test_missing_fields_and_wrong_types_are_refused(alice: Client, value: object) -> None:
    conversation = await alice.new_conversation()

    for route, body in BODIES.items():
        for field in body:
            without = {key: text for key, text in body.items() if key != field}
            wrong = {**body, field: value}
            path = route.format(conversation=conversation)
            for bad in (without, wrong):
                if field == "conversation_id" and bad.get(field) == 5:
                    continue
                assert_error(await alice.post(path, bad), 400)


async def test_nul_is_refused_in_every_text(alice: Client) -> None:
    conversation, kb_id = await alice.new_conversation(), await alice.new_knowledge_base()

    for route, body in BODIES.items():
        for field, value in body.items():
            if isinstance(value, str):
                bad = {**body, "kb_id": kb_id, field: "a\x00b"}
                assert_error(await alice.post(route.format(conversation=conversation), bad), 400)
    assert_error(await alice.get("/api/rag/doc/list?kb_id=a%00b"), 400)
    assert_error(await alice.get("/api/rag/doc/status?doc_id=a%00b"), 400)
    assert_error(await alice.get("/api/rag/doc/events?doc_id=a%00b"), 400)
    assert_error(await alice.upload("a\x00b"), 400)


async def test_an_escaped_backslash_is_no_nul(alice: Client) -> None:
    made = await alice.post("/api/conversations/create", content=rb'{"title": "a \\u0000 b", "model": "gpt-4o"}')

    assert made.status_code == 200
    assert made.json()["title"] == r"a \u0000 b"


@pytest.mark.parametrize(
    "number",
    ["abc", "-1", "0", "1.0", "1e3", "+5", "1_000", "٣", "５", "0x10", "9" * 30, str(2**53), str(2**63), "%00", "%20"],
)
async def test_what_cannot_be_an_id_is_not_found_and_a_bad_request_on_chat(alice: Client, number: str) -> None:
    assert_error(await alice.get(f"/api/conversations/history/{number}"), 404, "conversation_not_found")
    assert_error(await alice.post(f"/api/conversations/del/{number}"), 404, "conversation_not_found")
    assert_error(await alice.get(f"/api/chat/{number}/stream"), 404, "conversation_not_found")
    assert_error(await alice.post(f"/api/chat/{number}/stop"), 404, "conversation_not_found")
    assert_error(await alice.post(f"/api/chat/{number}", {"message": "x"}), 400, "invalid_conversation_id")


@pytest.mark.parametrize("top_k", [0, -1, 101, 10**30, "5", 1.5, True])
async def test_top_k_is_a_number_from_1_to_100(alice: Client, top_k: object) -> None:
    kb_id = await alice.new_knowledge_base()
    await alice.new_document(kb_id)
    conversation = await alice.new_conversation()

    retrieved = await alice.post("/api/rag/retrieve", {"kb_id": kb_id, "query": "条款", "top_k": top_k})
    asked = await alice.post(
        "/api/rag/chat", {"conversation_id": conversation, "kb_id": kb_id, "message": "条款", "top_k": top_k}
    )

    assert_error(retrieved, 400)
    assert_error(asked, 400)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=1.5", "before=x", "before=0", f"before={2**53}"]
)
async def test_queries_of_the_list_are_checked(alice: Client, query: str) -> None:
    reply = await alice.get(f"/api/conversations/list?{query}")

    assert_error(reply, 400, "invalid_parameter")
    assert reply.json()["error"] == f"The value of '{query.partition('=')[0]}' in the query is not valid"


@pytest.mark.parametrize(
    "query", ["", "kb_id", "kb_id=%ff", "kb_id=a&kb_id=b", "%ff=%ff", "&&=&", "kb_id=" + "x" * 9000]
)
async def test_queries_of_the_document_list_are_no_danger(alice: Client, query: str) -> None:
    reply = await alice.get(f"/api/rag/doc/list?{query}")

    assert reply.status_code in {400, 404}
    assert set(reply.json()) == {"error", "code"}


@pytest.mark.parametrize("after", ["-1", "x", "1.5", str(2**53)])
async def test_after_is_a_number(alice: Client, after: str) -> None:
    conversation = await alice.new_conversation()

    assert_error(await alice.get(f"/api/chat/{conversation}/stream?after={after}"), 400, "invalid_parameter")


async def test_unknown_routes_and_methods(alice: Client, client: Client) -> None:
    assert_error(await client.get("/api/nothing"), 404, "route_not_found")
    assert_error(await client.get("/" + "x" * 5000), 404, "route_not_found")
    wrong_method = await alice.get("/api/conversations/create")

    assert_error(wrong_method, 405, "method_not_allowed")
    assert "POST" in wrong_method.headers["allow"]


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"{not json"])
async def test_a_missing_conversation_goes_before_a_bad_body(alice: Client, body: bytes) -> None:
    sent = await alice.post(f"/api/chat/{MISSING_ID}", content=body)
    followed = await alice.get(f"/api/chat/{MISSING_ID}/stream?after=x")

    assert_error(sent, 404, "conversation_not_found")
    assert_error(followed, 404, "conversation_not_found")


async def test_a_trailing_slash_makes_no_difference(alice: Client) -> None:
    replies = [await alice.get(f"/api/conversations/list{end}") for end in ("", "/")]

    assert [reply.status_code for reply in replies] == [200, 200]


async def test_rag_speaks_chinese_and_the_others_english(alice: Client, client: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    conversation = await alice.new_conversation()
    question = {"conversation_id": conversation, "kb_id": kb_id, "message": "unrelated"}

    nothing = await alice.post("/api/rag/chat", question)
    missing = await alice.get(f"/api/rag/doc/list?kb_id={MISSING_UUID}")
    unauthenticated = await client.get("/api/rag/models")
    english = await client.get("/api/conversations/list")

    assert nothing.status_code == 404
    assert nothing.json() == {"error": "知识库中未找到相关信息", "code": "nothing_relevant"}
    assert missing.json() == {"error": "知识库不存在", "code": "knowledge_base_not_found"}
    assert unauthenticated.json()["error"] == "未提供有效的令牌"
    assert english.json()["error"] == "Missing or invalid token"


# What only commands run into, such as those that move a store, and no request.
COMMANDS = (
    *("llm_backend.application.copying_files", "llm_backend.application.key_rotation"),
    *("llm_backend.application.ports.old_product", "llm_backend.bootstrap", "llm_backend.infrastructure.archive"),
    *("llm_backend.infrastructure.collections", "llm_backend.infrastructure.embedding.hub"),
    *("llm_backend.infrastructure.sql.migrating", "llm_backend.infrastructure.sql.moving"),
)
ELSEWHERE = {  # codes that other routes than those of `/api/rag` answer with
    *("invalid_username", "invalid_password", "username_taken", "wrong_credentials"),
    *("too_many_attempts", "too_many_registrations", "invalid_title", "invalid_api_key", "conversation_id_taken"),
    *("api_key_not_found", "invalid_key_name", "invalid_key_expiry", "too_many_api_keys"),
    *("forbidden", "scope_missing", "user_not_found", "invalid_dimensions", "tokens_not_understood"),
    *("file_not_found", "file_batch_not_found", "file_content_missing", "file_belongs_elsewhere", "invalid_file_batch"),
    *("invalid_input", "item_not_found", "previous_response_not_found", "response_not_found", "events_forgotten"),
    *("invalid_file_expiry", "invalid_chunking", "invalid_metadata", "invalid_store_expiry", "vector_store_expired"),
    "cursor_not_found",
}


def kinds_of(kind: type[DomainError]) -> Iterator[type[DomainError]]:
    for narrower in kind.__subclasses__():
        if narrower.__module__.startswith("llm_backend."):
            yield narrower
        yield from kinds_of(narrower)


def test_every_error_of_rag_can_be_said_in_chinese() -> None:
    codes = {kind.code for kind in kinds_of(DomainError) if not kind.__module__.startswith(COMMANDS)}

    assert RedisAway.code in codes
    assert sorted(codes - ELSEWHERE - set(RAG_TEXTS)) == []


async def test_addresses_in_bodies_are_ignored(alice: Client) -> None:
    body = {"title": "x", "model": "gpt-4o", "api_base": "http://169.254.169.254/", "base_url": "http://127.0.0.1:1"}

    made = await alice.post("/api/conversations/create", {**body, "url": "file:///etc/passwd", "id": 5})

    assert made.status_code == 200
    assert list(made.json()) == ["conversation_id", "title", "model", "api_key", "created_time"]


async def test_a_body_over_the_limit_is_too_large(alice: Client) -> None:
    body = json.dumps({"title": "x" * 1_048_577, "model": "gpt-4o"}).encode()

    async def in_pieces() -> Any:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    announced = await alice.post("/api/conversations/create", content=body)
    unannounced = await alice.post("/api/conversations/create", content=in_pieces())

    assert_error(announced, 413, "body_too_large")
    assert_error(unannounced, 413, "body_too_large")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    route=st.sampled_from(sorted(BODIES)),
    field=st.integers(0, 5),
)
async def test_no_input_is_an_error_of_the_server(alice: Client, body: Any, route: str, field: int) -> None:
    good = dict(BODIES[route])
    name = list(good)[field % len(good)]
    path = route.format(conversation=MISSING_ID)

    whole = await alice.post(path, content=json.dumps(body).encode("utf-8", "surrogatepass"))
    part = await alice.post(path, content=json.dumps({**good, name: body}).encode("utf-8", "surrogatepass"))

    assert whole.status_code < 500
    assert part.status_code < 500


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"kb_id": "x"}, "query"),
        ({"kb_id": "x", "query": "x", "top_k": "5"}, "top_k"),
        ({"kb_id": "x", "query": "x", "filters": {"type": "or", "filters": [{"type": "=", "key": "x"}]}}, "filters"),
        ({"query": "x"}, "kb_id"),
        ({"query": "x", "kb_ids": []}, "kb_ids"),
    ],
)
async def test_chinese_errors_say_what_of_a_body_is_wrong(alice: Client, body: dict[str, Any], place: str) -> None:
    reply = await alice.post("/api/rag/retrieve", body)

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_body")
    assert reply.json()["error"].startswith(f"请求体格式不符合要求：{place}")


async def test_chinese_errors_say_which_parameter_is_wrong(alice: Client) -> None:
    reply = await alice.get("/api/rag/doc/chunks", params={"doc_id": "x", "limit": "many"})

    assert reply.json() == {"error": "请求参数无效：limit", "code": "invalid_parameter"}
