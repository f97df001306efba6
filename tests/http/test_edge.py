"""What every reply has in common, what the log says, and the documents about the API itself."""

import gc
import json
import re
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from litestar.types import Receive, Scope, Send
from structlog.testing import capture_logs

from llm_backend.application.backend import Backend
from llm_backend.application.health import CheckReadiness, Part
from llm_backend.domain.errors import DatabaseUnavailable, StorageFull
from llm_backend.interface.http.edge import PIECES, Edge, piece_writer
from llm_backend.interface.http.errors import status_of
from llm_backend.interface.http.options import HttpOptions
from tests.http.apps import app_over
from tests.http.clients import PASSWORD, Client


@asynccontextmanager
async def over(backend: Backend, options: HttpOptions | None = None) -> AsyncIterator[AsyncClient]:
    with app_over(backend, options) as app:
        transport = ASGITransport(app)  # type: ignore[arg-type]
        async with AsyncClient(transport=transport, base_url="http://test") as http:
            yield http


async def test_every_reply_has_an_id_of_its_own(client: Client) -> None:
    replies = [await client.get(path) for path in ("/healthz", "/healthz", "/nothing", "/api/conversations/list")]

    ids = [reply.headers["x-request-id"] for reply in replies]
    assert len(set(ids)) == 4
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)
    assert {reply.headers["x-content-type-options"] for reply in replies} == {"nosniff"}
    assert {reply.headers["cache-control"] for reply in replies} == {"no-store"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("\xff", False), ("", False)],
)
async def test_the_clients_own_id_is_kept_if_it_is_harmless(client: Client, given: str, kept: bool) -> None:
    reply = await client.get("/healthz", headers={"X-Request-Id": given.encode("latin-1")})

    assert (reply.headers["x-request-id"] == given) is kept


async def test_a_bug_is_logged_once_and_its_details_stay_here(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    class Bug:
        def __call__(self, *_: object, **__: object) -> Any:
            raise RuntimeError("the secret detail")

    broken = replace(backend, log_in=Bug())  # type: ignore[arg-type]
    async with over(broken) as http:
        reply = await http.post("/api/users/login", json={"username": "x", "password": "y"})

    assert reply.status_code == 500
    assert reply.json() == {
        "error": "Internal server error",
        "code": "internal_error",
        "request_id": reply.headers["x-request-id"],
    }
    crashes = [record for record in caplog.records if record.exc_info]
    assert len(crashes) == 1
    assert reply.headers["x-request-id"] in crashes[0].getMessage()


@pytest.mark.parametrize("after_start", [False, True])
async def test_what_goes_wrong_outside_of_handlers_is_logged_once_too(
    after_start: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("a bug")

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "headers": []}
    await Edge(broken)(scope, receive, send)

    assert [message.get("status") for message in sent] == ([200] if after_start else [500, None])
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_request_leaves_nothing_to_the_garbage_collector(method: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert piece_writer(scope, send)(b"piece") is None

    async def receive() -> Any:
        raise AssertionError

    class Client:
        async def send(self, message: Any) -> None: ...

    class ShortWay:
        def __init__(self, client: Client, scope: Any) -> None:
            self.client, self.scope = client, scope

        def write(self, piece: bytes) -> bool:
            del piece
            return True

        def flush(self) -> None: ...

    client = Client()
    freed = weakref.ref(client)
    scope: Any = {"type": "http", "method": method, "path": "/", "raw_path": b"/", "headers": [], "client": client}
    scope[PIECES] = ShortWay(client, scope)
    gc.disable()
    try:
        await Edge(app)(scope, receive, client.send)
        del scope, client
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("error", "status"), [(DatabaseUnavailable(), 503), (StorageFull(), 507)])
async def test_a_database_that_is_away_is_no_bug(backend: Backend, error: Exception, status: int) -> None:
    class Away:
        async def __call__(self, *_: object, **__: object) -> Any:
            raise error

    async with over(replace(backend, log_in=Away())) as http:  # type: ignore[arg-type]
        reply = await http.post("/api/users/login", json={"username": "x", "password": "y"})

    assert reply.status_code == status
    assert set(reply.json()) == {"error", "code"}


async def test_the_log_has_a_line_for_each_request_and_no_secrets(client: Client) -> None:
    with capture_logs() as lines:
        alice = await client.new_user("john_doe")
        conversation = await alice.new_conversation(api_key="sk-very-secret")
        await alice.post(f"/api/chat/{conversation}", {"message": "private words"})
        await alice.get("/api/rag/doc/list?kb_id=private-query")
        await alice.get("/a%0Ab")

    text = json.dumps(lines)
    assert [line["status"] for line in lines] == [201, 200, 200, 200, 404, 404]
    assert set(lines[0]) >= {"method", "path", "status", "ms", "bytes", "request_id"}
    assert lines[3]["path"] == f"/api/chat/{conversation}"
    assert lines[5]["path"] == "/a%0Ab"
    for secret in (PASSWORD, "sk-very-secret", "private", alice.token or "?", "Rust"):
        assert secret not in text


def test_codes_that_come_as_events_have_statuses_too() -> None:
    assert status_of(DatabaseUnavailable.code) == 503
    assert status_of(StorageFull.code) == 507
    assert status_of("something_new") == 500


# Cross-origin requests -----------------------------------------------------------------------------------------------

ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


async def test_other_origins_are_not_let_in_unless_configured(client: Client) -> None:
    replies = [
        await client.get("/healthz", headers=ORIGIN),
        await client.request("OPTIONS", "/api/chat/1", headers=PREFLIGHT),
    ]

    assert all("access-control-allow-origin" not in reply.headers for reply in replies)


async def test_configured_origins_are_let_in_and_see_the_request_id(backend: Backend) -> None:
    async with over(backend, HttpOptions(cors_origins=["https://app.example"])) as http:
        preflight = await http.options("/api/chat/1", headers=PREFLIGHT)
        refused = await http.get("/api/conversations/list", headers=ORIGIN)
        stranger = await http.get("/healthz", headers={"Origin": "https://evil.example"})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-request-id" in refused.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-origin" not in stranger.headers


async def test_browsers_may_send_what_openais_clients_send(backend: Backend) -> None:
    asked = {"Access-Control-Request-Headers": "authorization, x-stainless-retry-count, openai-beta"}
    async with over(backend, HttpOptions(cors_origins=["https://app.example"])) as http:
        preflight = await http.options("/v1/models", headers={**PREFLIGHT, **asked})

    assert preflight.status_code == 204
    assert {"x-stainless-retry-count", "openai-beta"} <= set(
        preflight.headers["access-control-allow-headers"].split(", ")
    )
    assert "DELETE" in preflight.headers["access-control-allow-methods"]


async def test_a_stream_varies_with_the_origin_and_the_framing(backend: Backend) -> None:
    origins = ["https://app.example", "https://other.example"]
    async with over(backend, HttpOptions(cors_origins=origins)) as http:
        alice = await Client(http).new_user()
        path = f"/api/chat/{await alice.new_conversation()}"
        replies = [
            await alice.post(path, {"message": "Hello"}, headers={"Origin": origin} if origin else {})
            for origin in (*origins, "https://evil.example", None)
        ]

    assert [reply.headers["vary"] for reply in replies] == ["Accept, Origin"] * 4
    assert [reply.headers.get("access-control-allow-origin") for reply in replies] == [*origins, None, None]


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "https://evil.example"},
        {"Access-Control-Request-Method": "PUT"},
        {"Access-Control-Request-Headers": "authorization, x-other"},
    ],
)
async def test_a_refused_preflight_is_an_error_like_all_others(backend: Backend, changed: dict[str, str]) -> None:
    async with over(backend, HttpOptions(cors_origins=["https://app.example"])) as http:
        refused = await http.options("/api/chat/1", headers={**PREFLIGHT, **changed})

    assert refused.status_code == 400
    assert refused.json()["code"] == "cors_refused"
    assert refused.headers["x-request-id"]


async def test_every_origin_can_be_let_in(backend: Backend) -> None:
    async with over(backend, HttpOptions(cors_origins=["*"])) as http:
        reply = await http.get("/healthz", headers=ORIGIN)

    assert reply.headers["access-control-allow-origin"] == "*"
    assert "vary" not in reply.headers


# Health --------------------------------------------------------------------------------------------------------------


async def fine() -> None:
    """It is there."""


async def away() -> None:
    raise DatabaseUnavailable


@pytest.mark.parametrize(
    ("database", "redis", "status", "health"),
    [(fine, fine, 200, "ok"), (fine, away, 200, "degraded"), (away, fine, 503, "down"), (away, away, 503, "down")],
)
async def test_readiness_names_each_part(backend: Backend, database: Any, redis: Any, status: int, health: str) -> None:
    parts = {"database": Part(check=database, essential=True), "redis": Part(check=redis, essential=False)}
    async with over(replace(backend, check_readiness=CheckReadiness(parts))) as http:
        ready, alive = await http.get("/readyz"), await http.get("/healthz")

    assert ready.status_code == status
    assert ready.json()["status"] == health
    assert ready.json()["parts"] == {
        "database": "ok" if database is fine else "down",
        "redis": "ok" if redis is fine else "degraded",
    }
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/schema/openapi.json"])
async def test_head_is_get_without_the_body(client: Client, path: str) -> None:
    with capture_logs() as lines:
        got, looked = await client.get(path), await client.request("HEAD", path)

    varying = {"x-request-id"}
    assert looked.status_code == 200
    assert looked.content == b""
    assert {**looked.headers, **dict.fromkeys(varying)} == {**got.headers, **dict.fromkeys(varying)}
    assert [line["method"] for line in lines] == ["GET", "HEAD"]


async def test_head_is_get_without_the_body_on_the_api_too(alice: Client) -> None:
    conversation, file = await alice.new_conversation(), await alice.new_file(content=b"12345")
    paths = ["/api/conversations/list", f"/api/conversations/history/{conversation}", "/api/conversations/history/0"]
    paths += [f"/api/chat/{conversation}/stream", "/api/nothing", "/v1/models", f"/v1/files/{file}/content", "/v1/x"]

    for path in paths:
        got, looked = await alice.get(path), await alice.request("HEAD", path)

        assert (looked.status_code, looked.content) == (got.status_code, b"")
        assert {**looked.headers, "x-request-id": ""} == {**got.headers, "x-request-id": ""}


async def test_head_of_a_route_that_only_takes_something_is_refused(alice: Client) -> None:
    for path in ("/api/conversations/create", "/v1/chat/completions"):
        assert (await alice.request("HEAD", path)).status_code == 405


async def test_what_a_path_has_is_told_alike_to_those_who_ask_and_those_who_guess_wrong(alice: Client) -> None:
    for path in ("/healthz", "/v1/models", "/v1/responses", "/api/chat/1"):
        asked, refused = await alice.request("OPTIONS", path), await alice.request("PATCH", path)

        assert (asked.status_code, refused.status_code) == (204, 405)
        allowed = set(asked.headers["allow"].split(", "))
        assert allowed == set(refused.headers["allow"].split(", "))
        assert allowed <= {"GET", "HEAD", "POST", "OPTIONS"}
        assert ("GET" in allowed) is ("HEAD" in allowed)


# Documentation -------------------------------------------------------------------------------------------------------


async def test_the_page_works_offline_and_runs_nothing_inline(client: Client) -> None:
    home = await client.get("/")
    page = await client.get("/docs")
    files = [await client.get(f"/docs/{name}") for name in ("docs.js", "docs.css")]

    assert home.status_code in {301, 302, 307}
    assert home.headers["location"] == "/docs"
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert [file.status_code for file in files] == [200, 200]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for text in (page.text, *(file.text for file in files)):
        assert "http://" not in text
        assert "https://" not in text
    assert not re.search(
        r"<script(?! src=)|<style| style=| on\w+=|javascript:|innerHTML|eval\(", page.text + files[0].text
    )
    assert (await client.get("/docs/..%2Fdocs.html")).status_code == 404
    assert (await client.get("/docs/other")).status_code == 404


async def test_documentation_can_be_switched_off(backend: Backend) -> None:
    async with over(backend, HttpOptions(documentation=False)) as http:
        replies = [await http.get(path) for path in ("/", "/docs", "/schema", "/schema/openapi.json")]

    assert {reply.status_code for reply in replies} == {404}
    assert {reply.json()["code"] for reply in replies} == {"route_not_found"}


async def test_the_document_describes_every_error_as_it_is(client: Client) -> None:
    document = (await client.get("/schema/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    operations = [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]
    for path, operation in operations:
        for status, response in operation["responses"].items():
            if int(status) >= 400 and path.startswith(("/api", "/v1")):
                schema = response["content"]["application/json"]["schema"]
                envelope = "ErrorOut" if path.startswith("/api") else "OpenAiErrorOut"
                assert schema == {"$ref": f"#/components/schemas/{envelope}"}, (path, status)
        if path.startswith(("/api", "/v1")):
            assert "405" in operation["responses"], path
        public = path in {"/api/users/register", "/api/users/login", "/healthz", "/readyz"}
        assert ("security" in operation) is not public, path
        assert ("401" in operation["responses"]) is (not public or path.endswith("login")), path
    assert len({operation["operationId"] for _, operation in operations}) == len(operations)


async def test_the_document_says_where_a_body_can_be_too_large_or_encoded_and_that_all_can_be_too_slow(
    client: Client,
) -> None:
    paths = (await client.get("/schema/openapi.json")).json()["paths"]

    for path, methods in paths.items():
        for operation in methods.values():
            reads = "requestBody" in operation
            declared = set(operation["responses"])
            assert ("413" in declared, "415" in declared) == (reads, reads), path
            assert {"408", "431"} <= declared or not path.startswith(("/api", "/v1")), path


async def test_the_document_describes_every_success_as_it_is(client: Client) -> None:
    document = (await client.get("/schema/openapi.json")).json()

    successes = {
        (f"{method} {path}", status): response
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for status, response in operation["responses"].items()
        if int(status) < 300
    }
    content = {
        name: {kind: media["schema"] for kind, media in response.get("content", {}).items()}
        for (name, _), response in successes.items()
    }
    assert [name for name, kinds in content.items() if {} in kinds.values()] == []
    assert [name for name, response in successes.items() if "URL follows" in response["description"]] == []
    file = content["get /api/rag/doc/content"]
    assert file["application/json"] == {"$ref": "#/components/schemas/DocumentContentOut"}
    assert file["application/octet-stream"] == {"type": "string", "format": "binary"}
    assert content["post /v1/embeddings"]["application/json"] == {"$ref": "#/components/schemas/EmbeddingsOut"}
    completion = content["post /v1/chat/completions"]["application/json"]
    assert {"id", "choices", "usage"} <= set(completion["properties"])
    both = {"application/json", "text/event-stream"}
    streamed = ("post /v1/chat/completions", "post /v1/responses", "get /v1/responses/{response_id}")
    assert [set(content[name]) for name in streamed] == [both] * 3


async def test_the_document_names_the_headers_that_are_read(client: Client) -> None:
    document = (await client.get("/schema/openapi.json")).json()

    readers: dict[str, set[str]] = {"Idempotency-Key": set(), "Last-Event-ID": set()}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "header":
                    assert not parameter["required"]
                    readers[parameter["name"]].add(f"{method} {path}")
    asking = {"post /api/chat/{conversation_id}", "post /api/rag/chat"}
    making = {f"post /api/{name}" for name in ("users/register", "keys", "conversations/create", "rag/kb/create")}
    making |= {"post /api/rag/kb/reindex"}
    making |= {
        f"post /v1/{name}" for name in ("responses", "responses/compact", "conversations", "files", "vector_stores")
    }
    making |= {"post /v1/conversations/{conversation_id}/items"}
    making |= {f"post /v1/vector_stores/{{vector_store_id}}/{name}" for name in ("files", "file_batches")}
    assert readers["Idempotency-Key"] == asking | making | {"post /api/rag/doc/upload"}
    assert readers["Last-Event-ID"] == asking | {"get /api/chat/{conversation_id}/stream"}


async def test_unknown_pages_of_the_schema_are_errors_like_all_others(client: Client) -> None:
    reply = await client.get("/schema/nothing")

    assert reply.status_code == 404
