"""Embedding models whose server refuses the key, or for which there is none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient, Response

from llm_backend import Settings, open_backend
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.apps import app_over
from tests.http.backends import FastPasswords, PlainTextParser
from tests.http.clients import Client
from tests.http.test_reindexing import ended
from tests.upstream import Upstream

KEYLESS, REFUSED = "zhipu-embedding-3", "refused"
KEYS = {"ZHIPU_API_KEY": "sk-of-before"}


@asynccontextmanager
async def a_user(
    folder: Path, upstream: Upstream, store: MemoryStore, environ: dict[str, str], default: str = "hash-1024"
) -> AsyncIterator[Client]:
    """Of a server that knows a model without a key, one whose key is refused, and the lexical one."""
    remote = {"base_url": upstream.base_url, "dimensions": 8}
    models = [
        {**remote, "name": KEYLESS, "model": "500", "api_key": "${ZHIPU_API_KEY}"},
        {**remote, "name": REFUSED, "model": "401", "api_key": "sk-wrong"},
    ]
    rag = {"default_embedding_model": default, "embedding_models": models}
    settings = Settings.from_mapping({"data_folder": str(folder), "rag": rag}, environ=environ)
    async with open_backend(
        settings,
        store=store,
        passage_index=MemoryPassageIndex(),
        chat_model=ScriptedChatModel(),
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


@pytest.fixture
async def user(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Client]:
    async with a_user(tmp_path, upstream, MemoryStore(), {}) as user:
        yield user


def told(reply: Response) -> tuple[int, str, str]:
    return reply.status_code, reply.json()["code"], reply.json()["error"]


async def a_shelf(user: Client, model: str) -> str:
    reply = await user.post("/api/rag/kb/create", {"kb_name": "Shelf", "embedding_model": model})
    assert reply.status_code == 200, reply.text
    kb_id: str = reply.json()["kb_id"]
    return kb_id


async def test_an_upload_says_at_once_that_the_key_is_refused(user: Client, upstream: Upstream) -> None:
    kb_id = await a_shelf(user, REFUSED)

    reply = await user.upload(kb_id)

    assert told(reply) == (500, "embedding_rejected_key", "Embedding 服务拒绝了 API 密钥")
    assert len(upstream.requests) == 1


async def test_so_does_a_change_of_the_embedding_model(user: Client, upstream: Upstream) -> None:
    kb_id = await a_shelf(user, "hash-1024")
    await user.new_document(kb_id)

    started = await user.post("/api/rag/kb/reindex", {"kb_id": kb_id, "embedding_model": REFUSED})

    assert started.status_code == 202, started.text
    status = await ended(user, kb_id)
    assert (status["state"], status["code"]) == ("failed", "embedding_rejected_key")
    assert len(upstream.requests) == 1


async def test_a_question_still_finds_words(user: Client, upstream: Upstream) -> None:
    kb_id = await a_shelf(user, REFUSED)

    found = await user.post("/api/rag/retrieve", {"kb_id": kb_id, "query": "contract"})

    assert (found.status_code, found.json()["degraded"]) == (200, True)
    assert len(upstream.requests) == 1


async def test_a_model_without_the_key_it_needs_can_be_chosen_and_not_used(user: Client, upstream: Upstream) -> None:
    kb_id = await a_shelf(user, "hash-1024")
    for_later = await a_shelf(user, KEYLESS)

    listed = (await user.get("/api/rag/models")).json()["models"]
    refusals = [
        await user.upload(for_later),
        await user.post("/api/rag/kb/reindex", {"kb_id": kb_id, "embedding_model": KEYLESS}),
        await user.post("/v1/embeddings", {"model": KEYLESS, "input": "hello"}),
        await user.post("/v1/embeddings", {"model": KEYLESS, "input": [1, 2]}),
    ]

    assert listed == ["hash-1024", KEYLESS, REFUSED]
    assert [reply.status_code for reply in refusals] == [400] * 4
    assert [reply.json()["code"] for reply in refusals[:2]] == ["api_key_required"] * 2
    assert [reply.json()["error"]["code"] for reply in refusals[2:]] == ["api_key_required"] * 2
    assert not upstream.requests


async def test_a_default_without_its_key_is_not_silently_another_model(tmp_path: Path, upstream: Upstream) -> None:
    async with a_user(tmp_path, upstream, MemoryStore(), {}, default=KEYLESS) as user:
        kb_id = (await user.post("/api/rag/kb/create", {"kb_name": "Shelf"})).json()["kb_id"]
        reply = await user.upload(kb_id)
        listed = (await user.get("/api/rag/models")).json()["models"]

    assert told(reply)[:2] == (400, "api_key_required")
    assert listed[0] == KEYLESS


async def test_a_knowledge_base_whose_key_has_gone_takes_no_uploads_and_is_searched_by_words(
    tmp_path: Path, upstream: Upstream
) -> None:
    store = MemoryStore()
    async with a_user(tmp_path, upstream, store, KEYS) as before:
        kb_id = await a_shelf(before, KEYLESS)

    async with a_user(tmp_path, upstream, store, {}) as after:
        owner = Client(after.http, before.token)
        upload = await owner.upload(kb_id)
        found = await owner.post("/api/rag/retrieve", {"kb_id": kb_id, "query": "contract"})

    assert told(upload) == (400, "api_key_required", "该模型需要 API 密钥，服务器未配置")
    assert (found.status_code, found.json()["degraded"]) == (200, True)
    assert not upstream.requests
