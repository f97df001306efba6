"""What is uploaded while its embedding server is slow or away is found by its words, over real sockets and disks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient

from llm_backend import Settings, open_backend
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.apps import app_over
from tests.http.backends import FastPasswords, PlainTextParser
from tests.http.clients import CONTRACT, Client
from tests.upstream import Recorded, Upstream, closed_port

QUESTION = "不可抗力条款"
SOON = 30.0  # seconds, after which a test that waits for something has failed


@asynccontextmanager
async def a_user(folder: Path, base_url: str, model: ScriptedChatModel | None = None) -> AsyncIterator[Client]:
    """Of a server with a database, an index and one embedding model."""
    embedding_model = {"name": "remote", "base_url": base_url, "model": "embeds", "dimensions": 8, "api_key": "sk-1"}
    rag = {"default_embedding_model": "remote", "embedding_models": [embedding_model]}
    async with open_backend(
        Settings.from_mapping({"data_folder": str(folder), "rag": rag}),
        chat_model=model or ScriptedChatModel(),
        parser=PlainTextParser(),
        passwords=FastPasswords(),
    ) as backend:
        with app_over(backend) as app:
            async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as http:  # type: ignore[arg-type]
                yield await Client(http).new_user()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


async def held_up(user: Client, upstream: Upstream, kb_id: str) -> tuple[str, Recorded]:
    """A document that waits for its vectors, and the request that has to be told to go on."""
    upstream.next("embeds:waiting")
    doc_id = await user.submit(kb_id)
    return doc_id, await upstream.arrived()


async def search(user: Client, kb_id: str) -> dict[str, Any]:
    reply = await user.post("/api/rag/retrieve", {"kb_id": kb_id, "query": QUESTION, "top_k": 3})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def found_by_words(user: Client, kb_id: str) -> dict[str, Any]:
    """What the first search finds that finds something."""
    async with asyncio.timeout(SOON):
        while not (found := await search(user, kb_id))["results"]:  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.05)
    return found


async def listed(user: Client, kb_id: str) -> list[str]:
    reply = await user.get("/api/rag/doc/list", params={"kb_id": kb_id})
    return [document["doc_id"] for document in reply.json()["docs"]]


async def test_while_vectors_are_late_words_are_found_and_nothing_is_listed(tmp_path: Path, upstream: Upstream) -> None:
    async with a_user(tmp_path, upstream.base_url) as user:
        kb_id = await user.new_knowledge_base()
        doc_id, request = await held_up(user, upstream, kb_id)

        meanwhile = await found_by_words(user, kb_id)
        status, there = await user.status(doc_id), await listed(user, kb_id)
        store = (await user.get(f"/v1/vector_stores/vs_{kb_id.replace('-', '')}")).json()
        file = f"/v1/vector_stores/vs_{kb_id.replace('-', '')}/files/file-{doc_id.replace('-', '')}/content"
        text = await user.get(file)
        contents = await user.get("/api/rag/doc/content", params={"kb_id": kb_id, "doc_id": doc_id})
        request.go_on.set()
        settled = await user.settled(doc_id)
        afterwards = await search(user, kb_id)

        assert [result["content"] for result in meanwhile["results"]] == [CONTRACT]
        assert meanwhile["degraded"] is True
        assert (status["state"], status["step"]) == ("pending", "embedding")
        assert there == []
        assert (store["file_counts"]["in_progress"], store["file_counts"]["completed"]) == (1, 0)
        assert (contents.status_code, text.json()["data"]) == (404, [])
        assert settled["state"] == "ready"
        assert [result["content"] for result in afterwards["results"]] == [CONTRACT]
        assert not afterwards.get("degraded")
        assert await listed(user, kb_id) == [doc_id]


async def test_an_answer_cites_what_is_found_by_its_words(tmp_path: Path, upstream: Upstream) -> None:
    model = ScriptedChatModel()
    async with a_user(tmp_path, upstream.base_url, model) as user:
        kb_id, conversation = await user.new_knowledge_base(), await user.new_conversation()
        doc_id, request = await held_up(user, upstream, kb_id)
        await found_by_words(user, kb_id)
        model.play_next("不可抗力 [1]")

        body = {"conversation_id": conversation, "kb_id": kb_id, "message": "什么是不可抗力条款?"}
        await user.post("/api/rag/chat", body)
        summed_up = await user.post("/api/rag/chat", {**body, "message": "请总结这个知识库里的文档"})
        store = kb_id.replace("-", "")
        hits = (await user.post(f"/v1/vector_stores/vs_{store}/search", {"query": QUESTION})).json()["data"]

        (citation,) = (await user.history(conversation))[1]["citations"]
        assert (citation["doc_id"], citation["verified"]) == (doc_id, True)
        assert citation["quote"] == CONTRACT[citation["start"] : citation["end"]]
        assert summed_up.json()["code"] == "nothing_relevant"  # outlines are of what is listed
        assert [hit["file_id"] for hit in hits] == [f"file-{doc_id.replace('-', '')}"]
        request.go_on.set()
        assert (await user.settled(doc_id))["state"] == "ready"


async def test_while_the_server_is_down_words_are_found_until_the_document_is_cancelled(tmp_path: Path) -> None:
    async with a_user(tmp_path, f"http://127.0.0.1:{closed_port()}/v1") as user:
        kb_id = await user.new_knowledge_base()
        doc_id = await user.submit(kb_id)

        meanwhile = await found_by_words(user, kb_id)
        there = await listed(user, kb_id)
        await user.post("/api/rag/doc/cancel", {"doc_id": doc_id})
        afterwards = await search(user, kb_id)

        assert [result["content"] for result in meanwhile["results"]] == [CONTRACT]
        assert (meanwhile["degraded"], there) == (True, [])
        assert afterwards["results"] == []


async def test_nobody_else_finds_the_words(tmp_path: Path, upstream: Upstream) -> None:
    async with a_user(tmp_path, upstream.base_url) as alice:
        kb_id = await alice.new_knowledge_base()
        doc_id, request = await held_up(alice, upstream, kb_id)
        await found_by_words(alice, kb_id)
        bob = await alice.new_user()
        theirs = await bob.new_knowledge_base()

        stolen = await bob.post("/api/rag/retrieve", {"kb_id": kb_id, "query": QUESTION})
        own = await search(bob, theirs)

        assert stolen.status_code == 404
        assert own["results"] == []
        assert (await bob.get("/api/rag/doc/status", params={"doc_id": doc_id})).status_code == 404
        request.go_on.set()
        assert (await alice.settled(doc_id))["state"] == "ready"
