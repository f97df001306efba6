"""Pages that begin or end at what is gone, and at what never was, in every list."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from tests.http.clients import Client
from tests.http.openai.test_frame import error_of

FILES = 5
List: TypeAlias = tuple[str, Callable[[str], str]]
"""The path of a list, and that by which one thing of it is deleted."""


async def uploaded(client: Client) -> list[str]:
    return [await client.new_file(f"{number}.txt") for number in range(FILES)]


async def stores(client: Client) -> List:
    for _ in range(FILES):
        await client.new_vector_store()
    return "/v1/vector_stores", lambda name: f"/v1/vector_stores/{name}"


async def files(client: Client) -> List:
    await uploaded(client)
    return "/v1/files", lambda name: f"/v1/files/{name}"


async def documents(client: Client) -> List:
    """Files that were uploaded straight into a knowledge base."""
    shelf = await client.new_knowledge_base()
    for number in range(FILES):
        await client.upload(shelf, f"{number}.txt", f"Text {number}".encode())
    return "/v1/files", lambda name: f"/v1/files/{name}"


async def files_of_a_store(client: Client) -> List:
    store = await client.new_vector_store(file_ids=await uploaded(client))
    path = f"/v1/vector_stores/{store}/files"
    return path, lambda name: f"{path}/{name}"


async def files_of_a_store_deleted_everywhere(client: Client) -> List:
    path, _ = await files_of_a_store(client)
    return path, lambda name: f"/v1/files/{name}"


async def files_of_a_batch(client: Client) -> List:
    store = await client.new_vector_store()
    batch = await client.new_file_batch(store, await uploaded(client))
    path = f"/v1/vector_stores/{store}"
    return f"{path}/file_batches/{batch}/files", lambda name: f"{path}/files/{name}"


async def items(client: Client) -> List:
    given = [{"role": "user", "content": str(number)} for number in range(FILES)]
    made = await client.post("/v1/conversations", {"items": given})
    path = f"/v1/conversations/{made.json()['id']}/items"
    return path, lambda name: f"{path}/{name}"


LISTS = [
    stores,
    files,
    documents,
    files_of_a_store,
    files_of_a_store_deleted_everywhere,
    files_of_a_batch,
    items,
]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("made", LISTS)
async def test_a_loop_that_deletes_what_it_lists_finds_everything(
    alice: Client, made: Callable[[Client], Awaitable[List]], order: str
) -> None:
    path, path_of = await made(alice)
    everything = (await alice.get(path, params={"order": order})).json()["data"]

    found: list[str] = []
    page: dict[str, Any] = {"has_more": True, "last_id": ""}
    while page["has_more"]:
        page = (await alice.get(path, params={"order": order, "limit": 2, "after": page["last_id"]})).json()
        for one in page["data"]:
            found.append(one["id"])
            assert (await alice.request("DELETE", path_of(one["id"]))).status_code == 200

    assert len(found) == FILES
    assert found == [one["id"] for one in everything]
    assert (await alice.get(path)).json()["data"] == []


@pytest.mark.parametrize(
    ("made", "param"),
    [(made, "after") for made in LISTS] + [(made, "before") for made in LISTS if made not in {files, documents}],
)
async def test_a_page_at_what_never_was_in_the_list_is_an_error(
    alice: Client, bob: Client, made: Callable[[Client], Awaitable[List]], param: str
) -> None:
    path, _ = await made(alice)
    their_path, _ = await made(bob)
    theirs = (await bob.get(their_path)).json()["data"][1]["id"]

    for name in (theirs, theirs[:-5] + "00000", "nobody", "\x00"):
        reply = await alice.get(path, params={param: name})

        error = error_of(reply)
        assert (reply.status_code, error["type"]) == (400, "invalid_request_error")
        assert (error["code"], error["param"]) == ("cursor_not_found", param)


@pytest.mark.parametrize(
    "path",
    [
        "vector_stores/vs_{none}/files",
        "vector_stores/{store}/file_batches/vsfb_{none}/files",
        "conversations/conv_1/items",
        "responses/resp_1/input_items",
    ],
)
async def test_a_list_that_is_not_there_is_not_found_wherever_it_was_to_begin(alice: Client, path: str) -> None:
    names = {"none": "0" * 32, "store": await alice.new_vector_store()}

    reply = await alice.get(f"/v1/{path.format_map(names)}", params={"after": "nobody"})

    assert reply.status_code == 404
    assert error_of(reply)["code"] != "cursor_not_found"


async def test_what_a_response_was_asked_has_no_other_items(alice: Client) -> None:
    asked = [{"role": "user", "content": text} for text in "ab"]
    response = (await alice.post("/v1/responses", {"model": "gpt-4o", "input": asked})).json()
    path = f"/v1/responses/{response['id']}/input_items"
    newest, oldest = (await alice.get(path)).json()["data"]

    behind = await alice.get(path, params={"after": newest["id"]})
    others = [await alice.get(path, params={"before": name}) for name in (response["output"][0]["id"], "msg_1_1_0")]

    assert behind.json()["data"] == [oldest]
    for reply in others:
        assert (reply.status_code, error_of(reply)["param"]) == (400, "before")


async def test_conversations_are_found_by_a_loop_that_deletes_them(alice: Client, bob: Client) -> None:
    made = [await alice.new_conversation() for _ in range(FILES)]
    theirs = await bob.new_conversation()

    found: list[int] = []
    query: dict[str, int] = {"limit": 2}
    while page := (await alice.get("/api/conversations/list", params=query)).json():
        for line in page:
            found.append(line["conversation_id"])
            await alice.post(f"/api/conversations/del/{found[-1]}")
        query["before"] = found[-1]

    assert found == made[::-1]
    for never in (theirs, 5):
        reply = await alice.get("/api/conversations/list", params={"before": never})
        assert (reply.status_code, reply.json()["code"], list(reply.json())) == (
            400,
            "cursor_not_found",
            ["error", "code"],
        )
