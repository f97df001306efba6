"""The official Python client against a live server: files, vector stores, batches and searches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from llm_backend.interface.http.app import create_app
from tests.http.backends import memory_backend
from tests.http.clients import Client
from tests.live import serving


@asynccontextmanager
async def serving_memory(folder: Path) -> AsyncIterator[AsyncOpenAI]:
    """A client with a key of a new user."""
    async with (
        memory_backend(folder) as backend,
        serving(create_app(backend)) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        user = await (await Client(http).new_user()).with_key()
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=user.token, max_retries=0) as client:
            yield client


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncOpenAI]:
    async with serving_memory(tmp_path) as client:
        yield client


async def test_files_are_uploaded_listed_read_and_deleted(client: AsyncOpenAI) -> None:
    made = await client.files.create(
        file=("a.txt", b"hello"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    others = [(await client.files.create(file=(f"{name}.txt", b"x"), purpose="user_data")).id for name in "bc"]

    listed = [file.id async for file in client.files.list(limit=2)]  # the client asks for the second page by itself
    content = await client.files.content(made.id)
    ready = await client.files.wait_for_processing(made.id)
    deleted = await client.files.delete(made.id)

    assert listed == [*others[::-1], made.id]
    assert made.expires_at == made.created_at + 3600
    assert content.content == b"hello"
    assert ready == made
    assert deleted.deleted
    with pytest.raises(openai.NotFoundError) as caught:
        await client.files.retrieve(made.id)
    assert caught.value.code == "file_not_found"


async def test_a_store_is_filled_and_searched(client: AsyncOpenAI) -> None:
    store = await client.vector_stores.create(name="Terms", metadata={"team": "legal"})

    uploaded = await client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id,
        file=("seller.txt", b"The seller delivers within ten days."),
        attributes={"year": 2024},
        poll_interval_ms=50,
    )
    file = await client.files.create(file=("buyer.txt", b"The buyer pays within ten days."), purpose="assistants")
    polled = await client.vector_stores.files.create_and_poll(
        file.id, vector_store_id=store.id, attributes={"year": 2022}, poll_interval_ms=50
    )
    found = await client.vector_stores.search(store.id, query="Who pays?", max_num_results=5)
    filtered = await client.vector_stores.search(
        store.id, query="Who delivers?", filters={"type": "gte", "key": "year", "value": 2023}
    )

    assert (uploaded.status, polled.status, polled.last_error) == ("completed", "completed", None)
    assert found.object == "vector_store.search_results.page"
    assert found.data[0].file_id == file.id
    assert found.data[0].content[0].text == "The buyer pays within ten days."
    assert [hit.file_id for hit in filtered.data] == [uploaded.id]
    assert filtered.data[0].attributes == {"year": 2024}
    assert all(0 <= hit.score <= 1 for hit in found.data)
    full = await client.vector_stores.retrieve(store.id)
    assert (full.file_counts.completed, full.file_counts.total, full.status) == (2, 2, "completed")


async def test_batches_are_polled(client: AsyncOpenAI) -> None:
    store = await client.vector_stores.create()
    names = [f"{name}.txt" for name in "abc"]

    uploaded = await client.vector_stores.file_batches.upload_and_poll(
        vector_store_id=store.id, files=[(name, b"some text") for name in names], poll_interval_ms=50
    )
    file = await client.files.create(file=("d.txt", b"more text"), purpose="assistants")
    created = await client.vector_stores.file_batches.create_and_poll(
        vector_store_id=store.id, file_ids=[file.id], attributes={"kind": "late"}, poll_interval_ms=50
    )
    files = [one.id async for one in client.vector_stores.file_batches.list_files(created.id, vector_store_id=store.id)]
    cancelled = await client.vector_stores.file_batches.cancel(created.id, vector_store_id=store.id)

    assert (uploaded.status, uploaded.file_counts.completed) == ("completed", 3)
    assert (created.status, created.file_counts.total, files) == ("completed", 1, [file.id])
    assert cancelled.status == "completed"


async def test_files_of_a_store_are_paged_described_and_detached(client: AsyncOpenAI) -> None:
    store = await client.vector_stores.create()
    batch = await client.vector_stores.file_batches.upload_and_poll(
        vector_store_id=store.id, files=[(f"{name}.txt", b"some text") for name in "abc"], poll_interval_ms=50
    )

    listed = [file.id async for file in client.vector_stores.files.list(store.id, limit=2, filter="completed")]
    described = await client.vector_stores.files.update(
        listed[0], vector_store_id=store.id, attributes={"draft": True, "year": 2024.5}
    )
    text = await client.vector_stores.files.content(listed[0], vector_store_id=store.id)
    detached = await client.vector_stores.files.delete(listed[0], vector_store_id=store.id)

    assert (batch.status, len(listed), len(set(listed))) == ("completed", 3, 3)
    assert described.attributes == {"draft": True, "year": 2024.5}
    assert [part.text for part in text.data] == ["some text"]
    assert detached.deleted
    assert len([file async for file in client.vector_stores.files.list(store.id)]) == 2
    assert (await client.files.retrieve(listed[0])).id == listed[0]


async def test_stores_are_paged_changed_and_deleted(client: AsyncOpenAI) -> None:
    stores = [(await client.vector_stores.create(name=name)).id for name in "abc"]

    listed = [store.id async for store in client.vector_stores.list(limit=2)]
    changed = await client.vector_stores.update(
        stores[0], name="z", expires_after={"anchor": "last_active_at", "days": 7}
    )
    await asyncio.gather(*(client.vector_stores.delete(store) for store in stores))

    assert listed == stores[::-1]
    assert (changed.name, changed.expires_after and changed.expires_after.days) == ("z", 7)
    with pytest.raises(openai.NotFoundError):
        await client.vector_stores.retrieve(stores[0])


async def test_what_makes_no_sense_is_said_in_the_clients_words(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.vector_stores.create(name="a\nb")
    with pytest.raises(openai.NotFoundError):
        await client.vector_stores.search("vs_none", query="what")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-none").files.list()

    assert refused.value.code == "invalid_knowledge_base_name"


async def test_loops_that_delete_what_they_list_find_everything(client: AsyncOpenAI) -> None:
    """The client asks for the page behind the last thing of the one before, which is gone by then."""
    ids = []
    for number in range(5):
        file = await client.files.create(file=(f"{number}.txt", b"some text"), purpose="assistants")
        ids.append(file.id)
        await client.vector_stores.create(name=str(number))
    store = (await client.vector_stores.create(file_ids=ids)).id

    async for attached in client.vector_stores.files.list(store, limit=2):
        await client.vector_stores.files.delete(attached.id, vector_store_id=store)
    left_in_store = (await client.vector_stores.files.list(store)).data
    async for listed in client.files.list(limit=2):
        await client.files.delete(listed.id)
    async for found in client.vector_stores.list(limit=2):
        await client.vector_stores.delete(found.id)

    assert left_in_store == []
    assert (await client.files.list()).data == []
    assert (await client.vector_stores.list()).data == []


async def test_a_page_behind_what_never_was_is_an_error(client: AsyncOpenAI) -> None:
    for pages in (client.vector_stores.list(after="vs_" + "0" * 32), client.files.list(after="file-" + "0" * 32)):
        with pytest.raises(openai.BadRequestError) as caught:
            await pages
        assert (caught.value.code, caught.value.param) == ("cursor_not_found", "after")
