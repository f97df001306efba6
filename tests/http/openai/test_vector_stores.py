"""/v1/vector_stores: knowledge bases with files, attributes, batches and searches."""

import asyncio
from typing import Any

import pytest

from tests.http.backends import PlainTextParser
from tests.http.clients import Client
from tests.http.openai.test_files import TEXT, new_file
from tests.http.openai.test_frame import error_of
from tests.http.test_bad_requests import BROKEN

NO_STORE = "vs_" + "0" * 32
NO_FILE = "file-" + "0" * 32


async def new_store(client: Client, **fields: Any) -> str:
    reply = await client.post("/v1/vector_stores", fields)
    assert reply.status_code == 200, reply.text
    identifier: str = reply.json()["id"]
    return identifier


async def settled(client: Client, store: str) -> dict[str, Any]:
    """The store once nothing in it is in progress."""
    async with asyncio.timeout(30):
        while True:
            found: dict[str, Any] = (await client.get(f"/v1/vector_stores/{store}")).json()
            if not found["file_counts"]["in_progress"]:
                return found
            await asyncio.sleep(0.02)


async def attach(client: Client, store: str, file: str, **fields: Any) -> dict[str, Any]:
    reply = await client.post(f"/v1/vector_stores/{store}/files", {"file_id": file, **fields})
    assert reply.status_code == 200, reply.text
    attached: dict[str, Any] = reply.json()
    return attached


async def a_store_with(client: Client, **contents: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """A vector store with a file for each word, whose text is that word and more; and the ids of the files."""
    store, files = await new_store(client), {}
    for word, attributes in contents.items():
        files[word] = await new_file(client, f"{word}.txt", f"The {word} is released by force majeure.".encode())
        await attach(client, store, files[word], attributes=attributes)
    await settled(client, store)
    return store, files


async def search(client: Client, store: str, query: object = "force majeure", **fields: Any) -> dict[str, Any]:
    reply = await client.post(f"/v1/vector_stores/{store}/search", {"query": query, **fields})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


# Stores --------------------------------------------------------------------------------------------------------------


async def test_a_store_is_made_looked_at_changed_and_deleted(alice: Client) -> None:
    made = (await alice.post("/v1/vector_stores", {"name": "Terms", "metadata": {"team": "法务"}})).json()
    path = f"/v1/vector_stores/{made['id']}"

    changed = (
        await alice.post(path, {"name": "Others", "expires_after": {"anchor": "last_active_at", "days": 2}})
    ).json()
    for_good = (await alice.post(path, {"expires_after": None, "metadata": {}})).json()
    deleted = (await alice.request("DELETE", path)).json()

    assert made["id"].startswith("vs_")
    assert (made["object"], made["name"], made["metadata"]) == ("vector_store", "Terms", {"team": "法务"})
    assert (made["status"], made["usage_bytes"], made["expires_after"], made["expires_at"]) == (
        "completed", 0, None, None,
    )  # fmt: skip
    assert made["file_counts"] == {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}
    assert (changed["name"], changed["metadata"]) == ("Others", {"team": "法务"})
    assert changed["expires_at"] == changed["last_active_at"] + 2 * 86_400
    assert (for_good["name"], for_good["metadata"], for_good["expires_at"]) == ("Others", {}, None)
    assert deleted == {"id": made["id"], "object": "vector_store.deleted", "deleted": True}
    assert error_of(await alice.get(path))["code"] == "knowledge_base_not_found"


async def test_a_knowledge_base_is_a_vector_store_and_back(alice: Client) -> None:
    kb = await alice.new_knowledge_base("法律")
    document = await alice.new_document(kb)
    store = await new_store(alice, name="Terms")

    page = (await alice.get("/v1/vector_stores")).json()
    bases = (await alice.get("/api/rag/kb/list")).json()["kbs"]
    (file,) = (await alice.get(f"/v1/vector_stores/vs_{kb.replace('-', '')}/files")).json()["data"]

    assert [one["id"] for one in page["data"]] == [store, "vs_" + kb.replace("-", "")]
    assert page["data"][1]["file_counts"]["completed"] == 1
    assert [base["kb_name"] for base in bases] == ["法律", "Terms"]
    assert (file["id"], file["status"]) == ("file-" + document.replace("-", ""), "completed")


async def test_what_was_attached_is_a_document_under_api(alice: Client) -> None:
    await a_store_with(alice, seller={})
    (base,) = (await alice.get("/api/rag/kb/list")).json()["kbs"]

    documents = (await alice.get(f"/api/rag/doc/list?kb_id={base['kb_id']}")).json()["docs"]
    found = (await alice.post("/api/rag/retrieve", {"kb_id": base["kb_id"], "query": "seller"})).json()["results"]

    assert [document["doc_name"] for document in documents] == ["seller.txt"]
    assert found[0]["content"].startswith("The seller")


async def test_stores_are_listed_page_by_page(alice: Client) -> None:
    stores = [await new_store(alice, name=name) for name in "abc"]

    first = (await alice.get("/v1/vector_stores", params={"limit": 2})).json()
    rest = (await alice.get("/v1/vector_stores", params={"after": first["last_id"]})).json()
    oldest = (await alice.get("/v1/vector_stores", params={"order": "asc", "limit": 1})).json()

    assert [store["id"] for store in first["data"] + rest["data"]] == stores[::-1]
    assert (first["has_more"], rest["has_more"], oldest["first_id"]) == (True, False, stores[0])


async def test_a_store_can_be_made_with_files(alice: Client) -> None:
    file = await new_file(alice)

    store = await new_store(alice, file_ids=[file])
    nothing = await alice.post("/v1/vector_stores", {"file_ids": [NO_FILE]})

    assert (await settled(alice, store))["file_counts"]["completed"] == 1
    assert nothing.status_code == 404
    assert len((await alice.get("/v1/vector_stores")).json()["data"]) == 1


async def test_a_repeated_request_makes_one_store(alice: Client) -> None:
    headers = {"Idempotency-Key": "once"}

    replies = [await alice.post("/v1/vector_stores", {"name": "a"}, headers=headers) for _ in range(2)]
    other = await alice.post("/v1/vector_stores", {"name": "b"}, headers=headers)

    assert replies[0].json() == replies[1].json()
    assert other.status_code == 409


async def test_a_repeated_request_attaches_a_file_once(alice: Client) -> None:
    store, file, other = await alice.new_vector_store(), await alice.new_file(), await alice.new_file("other.txt")
    path, headers = f"/v1/vector_stores/{store}/files", {"Idempotency-Key": "once"}

    replies = [await alice.post(path, {"file_id": file}, headers=headers) for _ in range(2)]
    differently = await alice.post(path, {"file_id": other}, headers=headers)

    assert {(reply.status_code, reply.json()["id"]) for reply in replies} == {(200, file)}
    assert differently.status_code == 409
    assert [one["id"] for one in (await alice.get(path)).json()["data"]] == [file]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a\nb"},
        {"name": "x" * 256},
        {"metadata": {str(number): "" for number in range(17)}},
        {"metadata": {"a": "x" * 513}},
        {"metadata": {"a": 1}},
        {"expires_after": {"anchor": "last_active_at", "days": 0}},
        {"expires_after": {"anchor": "created_at", "days": 1}},
        {"embedding_model": "nobody"},
        {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 50, "chunk_overlap_tokens": 0}}},
        {
            "chunking_strategy": {
                "type": "static",
                "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 101},
            }
        },
    ],
)
async def test_what_makes_no_sense_makes_no_store(alice: Client, fields: dict[str, Any]) -> None:
    reply = await alice.post("/v1/vector_stores", fields)

    assert reply.status_code == 400, reply.text
    assert error_of(reply)
    assert (await alice.get("/v1/vector_stores")).json()["data"] == []


# Files of stores -----------------------------------------------------------------------------------------------------


async def test_a_file_is_attached_read_in_and_detached(alice: Client) -> None:
    store, file = await new_store(alice), await new_file(alice)
    path = f"/v1/vector_stores/{store}/files/{file}"
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}

    attached = await attach(alice, store, file, attributes={"year": 2024}, chunking_strategy=chunking)
    ready = await settled(alice, store)
    found = (await alice.get(path)).json()
    text = (await alice.get(f"{path}/content")).json()
    detached = (await alice.request("DELETE", path)).json()

    assert (attached["object"], attached["id"], attached["vector_store_id"]) == ("vector_store.file", file, store)
    assert attached["status"] in {"in_progress", "completed"}
    assert (found["status"], found["usage_bytes"], found["last_error"]) == ("completed", len(TEXT), None)
    assert (found["attributes"], found["chunking_strategy"]) == ({"year": 2024}, chunking)
    assert ready["usage_bytes"] == len(TEXT)
    assert text["data"] == [{"type": "text", "text": TEXT}]
    assert detached == {"id": file, "object": "vector_store.file.deleted", "deleted": True}
    assert (await alice.get(path)).status_code == 404
    assert (await search(alice, store))["data"] == []
    assert (await alice.get(f"/v1/files/{file}")).status_code == 200  # it is only out of the store


async def test_a_chunking_strategy_decides_how_a_file_is_cut(alice: Client) -> None:
    sentences = " ".join(f"Sentence number {number} is about force majeure." for number in range(100))
    file, store = await new_file(alice, content=sentences.encode()), await new_store(alice)
    small = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}

    await attach(alice, store, file, chunking_strategy=small)
    await settled(alice, store)
    hits = (await search(alice, store, max_num_results=50))["data"]

    assert len(hits) > len(sentences) / 400
    assert all(len(hit["content"][0]["text"]) <= 400 for hit in hits)


async def test_a_file_can_be_in_several_stores_and_is_deleted_from_all(alice: Client) -> None:
    file, stores = await new_file(alice), [await new_store(alice) for _ in range(2)]
    for store in stores:
        await attach(alice, store, file)
        await settled(alice, store)
    before = [(await search(alice, store))["data"][0]["file_id"] for store in stores]

    await alice.request("DELETE", f"/v1/files/{file}")

    assert before == [file, file]
    for store in stores:
        assert (await alice.get(f"/v1/vector_stores/{store}/files")).json()["data"] == []
        assert (await search(alice, store))["data"] == []


async def test_a_deleted_store_leaves_its_files(alice: Client) -> None:
    store, files = await a_store_with(alice, seller={})

    await alice.request("DELETE", f"/v1/vector_stores/{store}")

    assert (await alice.get(f"/v1/files/{files['seller']}/content")).status_code == 200


async def test_attaching_again_changes_only_what_is_named(alice: Client) -> None:
    store, files = await a_store_with(alice, seller={"year": 2024})

    as_it_was = await attach(alice, store, files["seller"])
    other = await attach(alice, store, files["seller"], attributes={"year": 2025})

    assert (as_it_was["attributes"], as_it_was["status"]) == ({"year": 2024}, "completed")
    assert (other["attributes"], other["status"]) == ({"year": 2025}, "completed")
    assert len((await alice.get(f"/v1/vector_stores/{store}/files")).json()["data"]) == 1


async def test_a_detached_file_can_be_attached_again(alice: Client) -> None:
    store, files = await a_store_with(alice, seller={})

    await alice.request("DELETE", f"/v1/vector_stores/{store}/files/{files['seller']}")
    await attach(alice, store, files["seller"])
    await settled(alice, store)

    assert [hit["file_id"] for hit in (await search(alice, store))["data"]] == [files["seller"]]


async def test_attributes_can_be_changed(alice: Client) -> None:
    store, files = await a_store_with(alice, seller={"year": 2024})
    path = f"/v1/vector_stores/{store}/files/{files['seller']}"

    changed = (await alice.post(path, {"attributes": {"draft": True}})).json()
    too_many = await alice.post(path, {"attributes": {str(number): 1 for number in range(17)}})

    assert changed["attributes"] == {"draft": True}
    assert error_of(too_many)["code"] == "invalid_attributes"


async def test_a_broken_file_says_why(alice: Client) -> None:
    store, file = await new_store(alice), await new_file(alice, content=b"\xff\xfe\xfd")

    await attach(alice, store, file)
    counts = (await settled(alice, store))["file_counts"]
    found = (await alice.get(f"/v1/vector_stores/{store}/files/{file}")).json()

    assert (counts["failed"], found["status"], found["usage_bytes"]) == (1, "failed", 0)
    assert found["last_error"]["code"] == "invalid_file"


async def test_files_are_listed_by_status(alice: Client) -> None:
    store, files = await a_store_with(alice, seller={}, buyer={})
    broken = await new_file(alice, content=b"\xff\xfe\xfd")
    await attach(alice, store, broken)
    await settled(alice, store)
    path = f"/v1/vector_stores/{store}/files"

    completed = (await alice.get(path, params={"filter": "completed"})).json()
    failed = (await alice.get(path, params={"filter": "failed"})).json()
    oldest = (await alice.get(path, params={"order": "asc", "limit": 1})).json()

    assert [file["id"] for file in completed["data"]] == [files["buyer"], files["seller"]]
    assert [file["id"] for file in failed["data"]] == [broken]
    assert (oldest["last_id"], oldest["has_more"]) == (files["seller"], True)
    assert (await alice.get(path, params={"filter": "lost"})).status_code == 400


async def test_a_document_of_one_knowledge_base_cannot_be_attached_to_another(alice: Client) -> None:
    kb, store = await alice.new_knowledge_base(), await new_store(alice)
    file = "file-" + (await alice.new_document(kb)).replace("-", "")

    elsewhere = await alice.post(f"/v1/vector_stores/{store}/files", {"file_id": file})
    there = await attach(alice, "vs_" + kb.replace("-", ""), file, attributes={"year": 1})

    assert error_of(elsewhere)["code"] == "file_belongs_elsewhere"
    assert (there["status"], there["attributes"]) == ("completed", {"year": 1})


# Batches -------------------------------------------------------------------------------------------------------------


async def test_files_are_attached_in_batches(alice: Client) -> None:
    store = await new_store(alice)
    files = [await new_file(alice, f"{name}.txt") for name in "abc"]
    single = await new_file(alice)
    await attach(alice, store, single)

    made = await alice.post(
        f"/v1/vector_stores/{store}/file_batches",
        {"files": [{"file_id": file, "attributes": {"name": file}} for file in files]},
    )
    await settled(alice, store)
    path = f"/v1/vector_stores/{store}/file_batches/{made.json()['id']}"
    found = (await alice.get(path)).json()
    listed = (await alice.get(f"{path}/files")).json()
    cancelled = (await alice.post(f"{path}/cancel")).json()

    assert (made.json()["object"], made.json()["vector_store_id"]) == ("vector_store.files_batch", store)
    assert (found["status"], found["file_counts"]["completed"], found["file_counts"]["total"]) == ("completed", 3, 3)
    assert {file["id"]: file["attributes"] for file in listed["data"]} == {file: {"name": file} for file in files}
    assert cancelled == found  # there was nothing to give up


async def test_a_batch_can_be_given_up(alice: Client, parser: PlainTextParser) -> None:
    parser.slowly = True
    store, file = await new_store(alice), await new_file(alice)
    path = f"/v1/vector_stores/{store}/file_batches"

    made = (await alice.post(path, {"file_ids": [file]})).json()
    cancelled = (await alice.post(f"{path}/{made['id']}/cancel")).json()

    parser.go_on.set()
    assert made["status"] == "in_progress"
    assert (cancelled["status"], cancelled["file_counts"]["cancelled"]) == ("cancelled", 1)
    assert (await alice.get(f"/v1/vector_stores/{store}/files/{file}")).json()["status"] == "cancelled"


async def test_a_batch_is_attached_as_a_whole_or_not_at_all(alice: Client) -> None:
    store, file = await new_store(alice), await new_file(alice)
    path = f"/v1/vector_stores/{store}/file_batches"

    missing = await alice.post(path, {"file_ids": [file, NO_FILE]})
    twice = await alice.post(path, {"file_ids": [file, file]})
    both = await alice.post(path, {"file_ids": [file], "files": []})
    none = await alice.post(path, {})

    assert [reply.status_code for reply in (missing, twice, both, none)] == [404, 400, 400, 400]
    assert (await alice.get(f"/v1/vector_stores/{store}")).json()["file_counts"]["total"] == 0


async def test_a_repeated_batch_is_one(alice: Client) -> None:
    store, file = await new_store(alice), await new_file(alice)
    path, headers = f"/v1/vector_stores/{store}/file_batches", {"Idempotency-Key": "once"}

    first, second = [(await alice.post(path, {"file_ids": [file]}, headers=headers)).json() for _ in range(2)]

    assert first["id"] == second["id"]


# Searches ------------------------------------------------------------------------------------------------------------


async def test_a_search_finds_passages_with_scores(alice: Client) -> None:
    store, files = await a_store_with(alice, seller={"year": 2024}, buyer={})

    found = await search(alice, store, "Is the seller released?")

    best = found["data"][0]
    assert (found["object"], found["search_query"]) == (
        "vector_store.search_results.page", ["Is the seller released?"],
    )  # fmt: skip
    assert (found["has_more"], found["next_page"]) == (False, None)
    assert (best["file_id"], best["filename"], best["attributes"]) == (files["seller"], "seller.txt", {"year": 2024})
    assert best["content"] == [{"type": "text", "text": "The seller is released by force majeure."}]
    scores = [hit["score"] for hit in found["data"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"type": "eq", "key": "year", "value": 2024}, {"seller"}),
        ({"type": "ne", "key": "year", "value": 2024}, {"buyer", "agent"}),
        ({"type": "gt", "key": "year", "value": 2022}, {"seller"}),
        ({"type": "gte", "key": "year", "value": 2022}, {"seller", "buyer"}),
        ({"type": "lt", "key": "year", "value": 2024}, {"buyer"}),
        ({"type": "lte", "key": "year", "value": 2024}, {"seller", "buyer"}),
        ({"type": "in", "key": "year", "value": [2022, 1]}, {"buyer"}),
        ({"type": "nin", "key": "year", "value": [2022]}, {"seller", "agent"}),
        (
            {
                "type": "and",
                "filters": [
                    {"type": "eq", "key": "draft", "value": True},
                    {"type": "or", "filters": [{"type": "eq", "key": "year", "value": 2022}]},
                ],
            },
            {"buyer"},
        ),
        ({"type": "eq", "key": "year", "value": "2024"}, set()),
    ],
)
async def test_filters_go_by_attributes(alice: Client, filters: dict[str, Any], found: set[str]) -> None:
    store, files = await a_store_with(
        alice, seller={"year": 2024, "draft": True}, buyer={"year": 2022, "draft": True}, agent={}
    )

    hits = (await search(alice, store, filters=filters))["data"]

    assert {hit["file_id"] for hit in hits} == {files[name] for name in found}


async def test_a_search_can_be_limited(alice: Client) -> None:
    store, _ = await a_store_with(alice, seller={}, buyer={}, agent={})
    everything = (await search(alice, store, "seller"))["data"]
    best = everything[0]["score"]

    one = (await search(alice, store, "seller", max_num_results=1))["data"]
    good = (await search(alice, store, "seller", ranking_options={"ranker": "auto", "score_threshold": best}))["data"]
    rewritten = (await search(alice, store, "seller", rewrite_query=True))["data"]

    assert len(one) == len(good) == 1
    assert rewritten == everything


async def test_several_questions_are_searched_for_together(alice: Client) -> None:
    store, files = await a_store_with(alice, seller={}, buyer={}, agent={})

    found = await search(alice, store, ["seller", "buyer"], max_num_results=2)

    assert found["search_query"] == ["seller", "buyer"]
    assert {hit["file_id"] for hit in found["data"]} == {files["seller"], files["buyer"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"query": ""},
        {"query": []},
        {"query": ["a"] * 11},
        {"query": "a", "max_num_results": 0},
        {"query": "a", "max_num_results": 51},
        {"query": "a", "ranking_options": {"score_threshold": 2}},
        {"query": "a", "filters": {"type": "eq", "key": "a"}},
        {"query": "a", "filters": {"type": "like", "key": "a", "value": "b"}},
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(alice: Client, fields: dict[str, Any]) -> None:
    reply = await alice.post(f"/v1/vector_stores/{await new_store(alice)}/search", fields)

    assert reply.status_code == 400, reply.text
    assert error_of(reply)


@pytest.mark.parametrize("broken", sorted(BROKEN))
async def test_broken_bodies_are_refused_on_every_route(alice: Client, broken: str) -> None:
    store, file = await new_store(alice), await new_file(alice)
    await attach(alice, store, file)
    path = f"/v1/vector_stores/{store}"

    for route in ("/v1/vector_stores", path, f"{path}/search", f"{path}/files", f"{path}/files/{file}",
                  f"{path}/file_batches"):  # fmt: skip
        reply = await alice.post(route, content=BROKEN[broken])

        assert reply.status_code == 400, reply.text
        assert error_of(reply)


@pytest.mark.parametrize("name", ["x' OR '1'='1", "vs_", "vs_" + "A" * 32, "%00", NO_STORE])
async def test_what_cannot_be_an_id_is_the_id_of_nothing(alice: Client, name: str) -> None:
    for path in (f"/v1/vector_stores/{name}", f"/v1/vector_stores/{name}/files", f"/v1/files/{name}"):
        reply = await alice.get(path)

        assert reply.status_code == 404
        assert error_of(reply)


async def test_a_store_that_cannot_have_its_files_is_not_made(alice: Client) -> None:
    shelf = await alice.new_knowledge_base()
    document = f"file-{(await alice.new_document(shelf)).replace('-', '')}"
    before = (await alice.get("/v1/vector_stores")).json()["data"]

    refused = await alice.post("/v1/vector_stores", {"file_ids": [document]})

    assert refused.status_code == 400
    assert (await alice.get("/v1/vector_stores")).json()["data"] == before
