"""Another embedding model for a knowledge base: start, watch, cancel, roll back."""

import asyncio
from typing import Any

from tests.http.clients import Client

SOON = 20.0  # seconds
OTHER = "zhipu-embedding-2"


async def reindexed(user: Client, kb_id: str, model: str = OTHER) -> str:
    reply = await user.post("/api/rag/kb/reindex", {"kb_id": kb_id, "embedding_model": model})
    assert reply.status_code == 202, reply.text
    reindex_id: str = reply.json()["reindex_id"]
    return reindex_id


async def ended(user: Client, kb_id: str) -> dict[str, Any]:
    async with asyncio.timeout(SOON):
        while True:
            status: dict[str, Any] = (await user.get(f"/api/rag/kb/reindex/status?kb_id={kb_id}")).json()
            if status["state"] != "running":
                return status
            await asyncio.sleep(0.02)


async def model_of(user: Client, kb_id: str) -> str:
    listed = (await user.get("/api/rag/kb/list")).json()["kbs"]
    return next(str(kb["embedding_model"]) for kb in listed if kb["kb_id"] == kb_id)


async def test_a_knowledge_base_gets_another_embedding_model(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    await alice.new_document(kb_id)

    reply = await alice.post("/api/rag/kb/reindex", {"kb_id": kb_id, "embedding_model": OTHER})

    reindex_id = reply.json()["reindex_id"]
    assert reply.status_code == 202
    assert reply.json() == {
        "success": True,
        "reindex_id": reindex_id,
        "kb_id": kb_id,
        "message": "已开始更换 Embedding 模型",
    }
    assert reply.headers["location"] == f"/api/rag/kb/reindex/status?kb_id={kb_id}"
    assert await ended(alice, kb_id) == {
        "success": True,
        "reindex_id": reindex_id,
        "kb_id": kb_id,
        "from_model": "zhipu-embedding-3",
        "to_model": OTHER,
        "state": "done",
        "percent": 100,
        "chunks": 1,
        "embedded": 1,
        "message": "Embedding 模型更换完成",
    }
    assert await model_of(alice, kb_id) == OTHER
    found = await alice.post("/api/rag/retrieve", {"kb_id": kb_id, "query": "不可抗力条款"})
    assert len(found.json()["results"]) == 1


async def test_it_can_be_rolled_back(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    await alice.new_document(kb_id)
    await reindexed(alice, kb_id)
    await ended(alice, kb_id)

    reply = await alice.post("/api/rag/kb/reindex/rollback", {"kb_id": kb_id})

    assert reply.status_code == 202
    assert (await ended(alice, kb_id))["reindex_id"] == reply.json()["reindex_id"]
    assert await model_of(alice, kb_id) == "zhipu-embedding-3"


async def test_without_an_earlier_model_there_is_nothing_to_roll_back(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    reply = await alice.post("/api/rag/kb/reindex/rollback", {"kb_id": kb_id})

    assert (reply.status_code, reply.json()) == (
        409,
        {"error": "没有可以恢复的 Embedding 模型", "code": "nothing_to_roll_back"},
    )


async def test_what_has_ended_is_not_cancelled(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    await reindexed(alice, kb_id)

    reply = await alice.post("/api/rag/kb/reindex/cancel", {"kb_id": kb_id})

    assert (reply.status_code, reply.json()["state"]) == (200, "done")


async def test_the_status_of_one_that_never_changed_is_not_found(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    replies = [
        await alice.get(f"/api/rag/kb/reindex/status?kb_id={kb_id}"),
        await alice.post("/api/rag/kb/reindex/cancel", {"kb_id": kb_id}),
    ]

    assert {(reply.status_code, reply.json()["code"]) for reply in replies} == {(404, "reindexing_not_found")}


async def test_a_model_that_is_unknown_or_in_use_is_refused(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    unknown, in_use = [
        await alice.post("/api/rag/kb/reindex", {"kb_id": kb_id, "embedding_model": model})
        for model in ("unheard-of", "zhipu-embedding-3")
    ]

    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_embedding_model")
    assert (in_use.status_code, in_use.json()["code"]) == (409, "embedding_model_in_use")


async def test_the_same_key_starts_it_once(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    body, key = {"kb_id": kb_id, "embedding_model": OTHER}, {"Idempotency-Key": "once"}

    replies = [await alice.post("/api/rag/kb/reindex", body, headers=key) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json() == replies[1].json()
