"""The page at `/docs`, run: what its forms look like, and whether what they begin with can be sent."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_binary
from tests.http.clients import Client
from tests.http.conftest import Profile

RUNNER = Path(__file__).with_name("docs_page.mjs")
SOON = 30  # seconds


@pytest.fixture
def profile() -> Profile:
    """The page is the same on both."""
    return Profile()


async def page_over(document: object, client: Client, folder: Path) -> Mapping[str, dict[str, Any]]:
    """The operations that the page shows of an OpenAPI document, by method and path."""
    node = require_binary("node")
    (folder / "docs.js").write_text((await client.get("/docs/docs.js")).text)
    (folder / "openapi.json").write_text(json.dumps(document))
    command = [node, str(RUNNER), str(folder / "docs.js"), str(folder / "openapi.json")]
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    output, errors = await asyncio.wait_for(running.communicate(), SOON)
    assert running.returncode == 0, errors.decode()
    return {operation["name"]: operation for operation in json.loads(output)}


@pytest.fixture
async def document(client: Client) -> dict[str, Any]:
    read: dict[str, Any] = (await client.get("/schema/openapi.json")).json()
    return read


@pytest.fixture
async def page(document: dict[str, Any], client: Client, tmp_path: Path) -> Mapping[str, dict[str, Any]]:
    return await page_over(document, client, tmp_path)


async def test_the_page_shows_every_operation_in_node(
    page: Mapping[str, dict[str, Any]], document: dict[str, Any]
) -> None:
    paths = document["paths"].items()

    assert set(page) == {f"{method.upper()} {path}" for path, methods in paths for method in methods}
    assert page["GET /healthz"]["sent"]["headers"] == {}
    assert page["GET /api/keys"]["sent"]["headers"] == {"Authorization": "Bearer a-token"}
    assert page["GET /api/keys"]["output"].strip() == "204 No Content"


async def test_a_schema_that_contains_itself_ends_in_node(
    document: dict[str, Any], client: Client, tmp_path: Path
) -> None:
    tree = {"$ref": "#/components/schemas/Tree"}
    fields = {"kind": {"enum": ["leaf", "branch"]}, "left": tree, "all": {"type": "array", "items": tree}}
    document["components"]["schemas"]["Tree"] = {"type": "object", "required": [*fields], "properties": fields}
    body = {"content": {"application/json": {"schema": tree}}}
    document["paths"] = {"/trees": {"post": {"requestBody": body, "responses": {}}}}

    page = await page_over(document, client, tmp_path)

    assert json.loads(page["POST /trees"]["body"]) == {"kind": "leaf", "left": None, "all": []}


async def test_a_key_is_made_with_what_is_there_and_a_name_in_node(
    page: Mapping[str, dict[str, Any]], alice: Client
) -> None:
    body = json.loads(page["POST /api/keys"]["body"])

    reply = await alice.post("/api/keys", {**body, "name": "A key"})

    assert reply.status_code == 201, reply.text
    assert (reply.json()["scopes"], reply.json()["expires_at"]) == ([], None)


async def test_passages_are_found_with_what_is_there_an_id_and_a_question_in_node(
    page: Mapping[str, dict[str, Any]], alice: Client
) -> None:
    kb_id = await alice.new_knowledge_base()
    body = json.loads(page["POST /api/rag/retrieve"]["body"])
    assert {"kb_id", "query"} <= set(body)

    reply = await alice.post("/api/rag/retrieve", {**body, "kb_id": kb_id, "query": "force majeure"})

    assert reply.status_code == 200, reply.text


async def test_what_is_asked_under_v1_can_be_sent_with_a_model_in_node(
    page: Mapping[str, dict[str, Any]], alice: Client
) -> None:
    conversation = (await alice.post("/v1/conversations", {})).json()["id"]
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/conversations/{conversation_id}/items"):
        body = json.loads(page[f"POST {path}"]["body"])

        sent = {**body, "model": "gpt-4o"} if "model" in body else body
        reply = await alice.post(path.format(conversation_id=conversation), sent)

        assert reply.status_code == 200, reply.text


async def test_forms_have_the_fields_that_their_routes_read_in_node(page: Mapping[str, dict[str, Any]]) -> None:
    document, file = (page[f"POST {path}"] for path in ("/api/rag/doc/upload", "/v1/files"))

    fields = {label.split()[0]: field for label, field in document["fields"].items() if not label.endswith(")")}
    assert {name: field["type"] for name, field in fields.items()} == {
        "kb_id": "text",
        "file": "file",
        "attributes": "text",
        "replace": "select",
    }
    assert fields["replace"]["options"] == ["", "true", "false"]
    assert "user_data" in file["fields"]["purpose"]["options"]
    assert file["sent"]["body"] == {"file": {}, "purpose": "assistants"}
