"""/v1/files: uploaded by themselves, listed, read and deleted; documents of /api are among them."""

from typing import Any

import pytest
from httpx import Response

from tests.http.clients import Client
from tests.http.openai.test_frame import error_of
from tests.http.openai.test_responses import MODEL, a_shelf_of_two

TEXT = "Force majeure releases both parties from their duties."


async def upload(
    client: Client, name: str = "terms.txt", content: bytes = TEXT.encode(), purpose: str = "assistants", **options: Any
) -> Response:
    data = {"purpose": purpose, **options.pop("data", {})}
    return await client.post("/v1/files", data=data, files={"file": (name, content)}, **options)


async def new_file(client: Client, name: str = "terms.txt", content: bytes = TEXT.encode(), **options: Any) -> str:
    reply = await upload(client, name, content, **options)
    assert reply.status_code == 200, reply.text
    identifier: str = reply.json()["id"]
    return identifier


async def test_a_file_is_kept_as_it_came(alice: Client) -> None:
    made = (await upload(alice, "条款 1.txt", b"\x00\xff" * 100, purpose="user_data")).json()

    found = await alice.get(f"/v1/files/{made['id']}")
    content = await alice.get(f"/v1/files/{made['id']}/content")

    assert made["id"].startswith("file-")
    assert (made["object"], made["bytes"], made["filename"]) == ("file", 200, "条款 1.txt")
    assert (made["purpose"], made["status"], made["expires_at"]) == ("user_data", "processed", None)
    assert found.json() == made
    assert content.content == b"\x00\xff" * 100
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-disposition"].startswith("attachment")
    assert content.headers["x-content-type-options"] == "nosniff"


async def test_a_file_of_nothing_can_be_read(alice: Client) -> None:
    file = await new_file(alice, content=b"")

    assert (await alice.get(f"/v1/files/{file}/content")).content == b""


async def test_files_are_listed_newest_first_and_page_by_page(alice: Client) -> None:
    files = [await new_file(alice, f"{name}.txt", purpose="batch" if name == "b" else "vision") for name in "abc"]

    everything = (await alice.get("/v1/files")).json()
    first = (await alice.get("/v1/files", params={"limit": 2})).json()
    rest = (await alice.get("/v1/files", params={"limit": 2, "after": first["last_id"]})).json()
    batch = (await alice.get("/v1/files", params={"purpose": "batch"})).json()
    oldest_first = (await alice.get("/v1/files", params={"order": "asc"})).json()

    assert [file["id"] for file in everything["data"]] == files[::-1]
    assert [file["id"] for file in first["data"] + rest["data"]] == files[::-1]
    assert (first["has_more"], rest["has_more"], rest["first_id"]) == (True, False, files[0])
    assert [file["id"] for file in batch["data"]] == [files[1]]
    assert [file["id"] for file in oldest_first["data"]] == files


async def test_a_document_of_a_knowledge_base_is_a_file(alice: Client) -> None:
    kb = await alice.new_knowledge_base()
    document = await alice.new_document(kb)

    (listed,) = (await alice.get("/v1/files")).json()["data"]
    found = (await alice.get(f"/v1/files/{listed['id']}")).json()
    deleted = (await alice.request("DELETE", f"/v1/files/{listed['id']}")).json()

    assert listed["id"] == "file-" + document.replace("-", "")
    assert (found, listed["filename"], listed["purpose"]) == (listed, "合同协议.txt", "assistants")
    assert deleted == {"id": listed["id"], "object": "file", "deleted": True}
    assert (await alice.get(f"/api/rag/doc/list?kb_id={kb}")).json()["docs"] == []


async def test_a_deleted_file_is_gone_at_once(alice: Client) -> None:
    file = await new_file(alice)

    deleted = await alice.request("DELETE", f"/v1/files/{file}")
    again = await alice.request("DELETE", f"/v1/files/{file}")

    assert deleted.json() == {"id": file, "object": "file", "deleted": True}
    assert error_of(again)["code"] == "file_not_found"
    for path in (f"/v1/files/{file}", f"/v1/files/{file}/content"):
        assert (await alice.get(path)).status_code == 404
    assert (await alice.get("/v1/files")).json()["data"] == []


async def test_a_file_may_have_an_end(alice: Client) -> None:
    life = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}

    made = (await upload(alice, data=life)).json()

    assert made["expires_at"] == made["created_at"] + 3600


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"purpose": "anything"}, "invalid_form"),
        ({"purpose": ""}, "invalid_form"),
        ({"data": {"expires_after[anchor]": "created_at", "expires_after[seconds]": "10"}}, "invalid_file_expiry"),
        ({"data": {"expires_after[anchor]": "created_at", "expires_after[seconds]": "١٠"}}, "invalid_file_expiry"),
        ({"data": {"expires_after[seconds]": "7200"}}, "invalid_file_expiry"),
        ({"data": {"expires_after[anchor]": "now", "expires_after[seconds]": "7200"}}, "invalid_file_expiry"),
        ({"name": ".."}, "invalid_document_name"),
    ],
)
async def test_what_is_no_file_is_not_kept(alice: Client, fields: dict[str, Any], code: str) -> None:
    reply = await upload(alice, **fields)

    assert reply.status_code == 400, reply.text
    assert error_of(reply)["code"] == code
    assert (await alice.get("/v1/files")).json()["data"] == []


async def test_a_body_that_is_no_form_is_refused(alice: Client) -> None:
    without_file = await alice.post("/v1/files", data={"purpose": "assistants"}, files={"x": ("", b"")})
    no_form = await alice.post("/v1/files", {"purpose": "assistants"})

    for reply in (without_file, no_form):
        assert reply.status_code == 400
        assert error_of(reply)


async def test_a_name_is_no_path(alice: Client) -> None:
    assert (await upload(alice, "../../etc/x.txt")).json()["filename"] == "x.txt"


async def test_a_repeated_upload_makes_one_file(alice: Client) -> None:
    headers = {"Idempotency-Key": "once"}

    first, second = [(await upload(alice, headers=headers)).json() for _ in range(2)]
    other = await upload(alice, content=b"other", headers=headers)

    assert first == second
    assert other.status_code == 409
    assert len((await alice.get("/v1/files")).json()["data"]) == 1


async def test_a_key_needs_the_right_scope(alice: Client) -> None:
    file = await new_file(alice)
    reader = await alice.with_key(scopes=["files", "read-only"])
    chatter = await alice.with_key(scopes=["chat"])

    assert (await reader.get(f"/v1/files/{file}")).status_code == 200
    assert (await upload(reader)).status_code == 403
    assert (await reader.request("DELETE", f"/v1/files/{file}")).status_code == 403
    assert (await chatter.get("/v1/files")).status_code == 403


async def test_answers_from_files_take_a_key_for_chat_and_files(alice: Client) -> None:
    (store, file, _), shelf = await a_shelf_of_two(alice), await alice.new_knowledge_base()
    question = "When does the buyer pay?"
    search = [{"type": "file_search", "vector_store_ids": [store]}]
    shown = [{"type": "input_file", "file_id": file}]
    chatter, both = await alice.with_key(scopes=["chat"]), await alice.with_key(scopes=["chat", "files"])
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/responses", {"model": MODEL, "input": question, "tools": search}),
        ("/v1/responses", {"model": f"kb:{shelf}", "input": question}),
        ("/v1/responses", {"model": MODEL, "input": [{"role": "user", "content": shown}]}),
        ("/v1/chat/completions", {"model": f"kb:{shelf}", "messages": [{"role": "user", "content": question}]}),
    ]

    refused = [await chatter.post(path, body) for path, body in asked]
    answered = [await both.post(path, body) for path, body in asked]

    assert [reply.status_code for reply in refused] == [403] * len(asked)
    assert {reply.json()["error"]["code"] for reply in refused} == {"scope_missing"}
    assert 403 not in [reply.status_code for reply in answered]
    name = answered[0].json()["id"]
    results = {"include[]": "file_search_call.results"}
    assert (await chatter.get(f"/v1/responses/{name}")).status_code == 200
    assert (await chatter.get(f"/v1/responses/{name}", params=results)).status_code == 403
    assert (await both.get(f"/v1/responses/{name}", params=results)).status_code == 200
