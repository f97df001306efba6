"""`/api/rag/retrieve` beyond what its old clients ask for, and the attributes that it filters by."""

import json
from typing import Any

import pytest
from httpx import Response

from tests.http.clients import Client

PLACE = "/api/rag/retrieve"


async def upload(user: Client, kb_id: str, name: str, text: str, **fields: str) -> Response:
    files = {"file": (name, text.encode())}
    return await user.post("/api/rag/doc/upload", data={"kb_id": kb_id, **fields}, files=files)


async def given(user: Client) -> str:
    kb_id = await user.new_knowledge_base()
    for year in (2022, 2023, 2024):
        attributes = json.dumps({"year": year, "draft": year == 2024})
        reply = await upload(user, kb_id, f"{year}.txt", f"The fox of the year {year}.", attributes=attributes)
        assert reply.status_code == 200, reply.text
    return kb_id


async def names(user: Client, kb_id: str, filters: object) -> list[str]:
    reply = await user.post(PLACE, {"kb_id": kb_id, "query": "fox", "filters": filters})
    assert reply.status_code == 200, reply.text
    return sorted(result["doc_name"] for result in reply.json()["results"])


async def test_the_old_request_has_the_old_reply(alice: Client) -> None:
    kb_id = await given(alice)

    reply = (await alice.post(PLACE, {"kb_id": kb_id, "query": "fox", "top_k": 2})).json()

    assert set(reply) == {"success", "results", "message"}
    assert [set(result) for result in reply["results"]] == [{"content", "score", "doc_id", "doc_name"}] * 2


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"type": "gte", "key": "year", "value": 2023}, ["2023.txt", "2024.txt"]),
        ({"type": "in", "key": "doc_name", "value": ["2022.txt", "x' OR '1'='1"]}, ["2022.txt"]),
        ({"type": "nin", "key": "year", "value": [2022, 2023]}, ["2024.txt"]),
        ({"type": "eq", "key": "file_type", "value": "pdf"}, []),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "eq", "key": "draft", "value": True},
                    {
                        "type": "and",
                        "filters": [
                            {"type": "lt", "key": "year", "value": 2023},
                            {"type": "ne", "key": "draft", "value": True},
                        ],
                    },
                ],
            },
            ["2022.txt", "2024.txt"],
        ),
    ],
)
async def test_filters_choose_documents(alice: Client, filters: object, found: list[str]) -> None:
    assert await names(alice, await given(alice), filters) == found


async def test_attributes_are_listed_and_can_be_changed(alice: Client) -> None:
    kb_id = await given(alice)
    listed = (await alice.get(f"/api/rag/doc/list?kb_id={kb_id}")).json()["docs"]
    assert listed[0]["attributes"] == {"year": 2022, "draft": False}

    body = {"doc_id": listed[0]["doc_id"], "attributes": {"语言": "中文", "ratio": 0.5}}
    reply = await alice.post("/api/rag/doc/attributes", body)

    assert (reply.status_code, reply.json()) == (200, {"success": True, "message": "文档属性更新成功", **body})
    assert await names(alice, kb_id, {"type": "eq", "key": "语言", "value": "中文"}) == ["2022.txt"]
    assert await names(alice, kb_id, {"type": "eq", "key": "year", "value": 2022}) == []


@pytest.mark.parametrize(
    "filters",
    [
        {"type": "like", "key": "year", "value": 1},
        {"type": "eq", "key": "year"},
        {"type": "eq", "key": "year", "value": None},
        {"type": "eq", "key": "year", "value": [1]},
        {"type": "in", "key": "year", "value": 1},
        {"type": "and"},
        {"type": "and", "filters": [], "key": "year"},
        {"type": "eq", "key": "year", "value": 1, "operator": "="},
        {"type": "eq", "key": "", "value": 1},
        [],
        "year = 2024",
    ],
)
async def test_a_filter_that_cannot_be_understood_is_refused(alice: Client, filters: object) -> None:
    body = {"kb_id": await alice.new_knowledge_base(), "query": "fox", "filters": filters}

    reply = await alice.post(PLACE, body)

    assert reply.status_code == 400, reply.text
    assert reply.json()["code"] in {"invalid_filter", "invalid_body"}


@pytest.mark.parametrize("depth", [9, 300, 50_000])
async def test_a_filter_has_a_depth(alice: Client, depth: int) -> None:
    kb_id = await alice.new_knowledge_base()
    filters = '{"type":"and","filters":[' * depth + "]}" * depth
    content = f'{{"kb_id":"{kb_id}","query":"fox","filters":{filters}}}'

    reply = await alice.post(PLACE, content=content.encode(), headers={"content-type": "application/json"})

    assert reply.status_code == (400 if len(content) < 1_000_000 else 413)


async def test_the_threshold_is_inclusive_and_may_be_zero(alice: Client) -> None:
    kb_id = await given(alice)
    body: dict[str, Any] = {"kb_id": kb_id, "query": "fox of 2023", "top_k": 10}
    everything = (await alice.post(PLACE, {**body, "threshold": 0})).json()["results"]
    bound = everything[1]["score"]

    found = (await alice.post(PLACE, {**body, "threshold": bound})).json()["results"]

    assert len(everything) == 3
    assert found == [result for result in everything if result["score"] >= bound]
    for wrong in (-0.1, 1.1, "0.5"):
        assert (await alice.post(PLACE, {**body, "threshold": wrong})).status_code == 400


async def test_an_explanation_tells_how_a_score_came_about(alice: Client) -> None:
    kb_id = await given(alice)

    (best, *_) = (await alice.post(PLACE, {"kb_id": kb_id, "query": "fox 2023", "explain": True})).json()["results"]

    explained = best["explain"]
    assert best["kb_id"] == kb_id
    assert (explained["text_rank"], explained["vector_rank"], explained["rerank"]) == (1, 1, None)
    assert explained["bm25"] > 0
    assert 0 < explained["cosine"] <= 1
    assert explained["fused"] == best["score"]
    assert (explained["chunk"], explained["start"], explained["end"]) == (0, 0, len(best["content"]))


async def test_several_knowledge_bases_are_searched_together(alice: Client) -> None:
    first, second = await given(alice), await alice.new_knowledge_base("Another")
    await upload(alice, second, "den.txt", "The fox in its den.")

    reply = (await alice.post(PLACE, {"kb_ids": [first, second, first], "query": "fox den", "top_k": 10})).json()

    assert {result["kb_id"] for result in reply["results"]} == {first, second}
    assert reply["results"][0]["doc_name"] == "den.txt"
    assert len(reply["results"]) == 4


@pytest.mark.parametrize("blank", ["", "   ", "\n\t", "\u3000"])
async def test_a_blank_query_is_refused_as_a_blank_question_is(alice: Client, blank: str) -> None:
    reply = await alice.post(PLACE, {"kb_id": await given(alice), "query": blank})

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_query")


async def test_null_is_as_good_as_nothing(alice: Client) -> None:
    kb_id, conversation = await given(alice), await alice.new_conversation()
    nulls = dict.fromkeys(["kb_ids", "top_k", "threshold", "filters", "explain"])

    found = await alice.post(PLACE, {"kb_id": kb_id, "query": "fox", **nulls})
    asked = {"conversation_id": conversation, "kb_id": kb_id, "message": "A fox?", "top_k": None}
    answer = await alice.post("/api/rag/chat", asked)

    assert found.json() == (await alice.post(PLACE, {"kb_id": kb_id, "query": "fox"})).json()
    assert answer.status_code == 200


async def test_no_knowledge_base_is_not_too_many(alice: Client) -> None:
    reply = await alice.post(PLACE, {"kb_ids": [], "query": "fox"})

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_body")


@pytest.mark.parametrize("named", [{}, {"kb_id": "x", "kb_ids": ["x"]}, {"kb_ids": []}, {"kb_ids": ["x"] * 2 + [1]}])
async def test_a_search_names_one_knowledge_base_or_a_list(alice: Client, named: dict[str, Any]) -> None:
    assert (await alice.post(PLACE, {"query": "fox", **named})).status_code == 400


@pytest.mark.parametrize(
    "attributes", ["{", "[]", '"x"', '{"a": null}', '{"a": [1]}', '{"doc_id": "x"}', '{"a": "\\u0000"}', '{"": 1}']
)
async def test_attributes_that_cannot_be_are_refused(alice: Client, attributes: str) -> None:
    kb_id = await alice.new_knowledge_base()

    reply = await upload(alice, kb_id, "a.txt", "text", attributes=attributes)

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_attributes")


async def test_a_new_version_replaces_the_old_one(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    old = (await upload(alice, kb_id, "a.txt", "The old fox.")).json()["doc_id"]
    same = (await upload(alice, kb_id, "a.txt", "The old fox.")).json()["doc_id"]

    new = (await upload(alice, kb_id, "a.txt", "The new fox.", replace="true")).json()["doc_id"]

    assert same == old != new
    found = (await alice.post(PLACE, {"kb_id": kb_id, "query": "fox"})).json()["results"]
    assert [result["doc_id"] for result in found] == [new]
    assert (await upload(alice, kb_id, "a.txt", "x", replace="perhaps")).status_code == 400
    files = {"file": ("a.txt", b"The newest fox.")}
    newest = await alice.post("/api/rag/doc/upload", data={"kb_id": kb_id}, files=files, params={"replace": "true"})
    listed = (await alice.get(f"/api/rag/doc/list?kb_id={kb_id}")).json()["docs"]
    assert [document["doc_id"] for document in listed] == [newest.json()["doc_id"]]
