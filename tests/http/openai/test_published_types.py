"""Every reply under /v1 against the types that OpenAI publishes; responses and their events are in their own tests.

The types take more than is published, so what is missing or of another type is what shows.
"""

import json
from typing import Any

from httpx import Response
from openai import types
from openai.types import chat, conversations, responses, vector_stores
from pydantic import TypeAdapter

from tests.http.clients import Client
from tests.http.openai.test_responses import MODEL, a_shelf_of_two, respond

SAID: list[dict[str, Any]] = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "x"},
    {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "o"},
]
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
MORE_SAID: list[dict[str, Any]] = [
    {"role": "system", "content": "s"},
    {"role": "developer", "content": "d"},
    {"role": "user", "content": [{"type": "input_text", "text": "t"}, PICTURE]},
]


def checked(kind: Any, reply: Response) -> Any:
    assert reply.status_code == 200, reply.text
    body = reply.json()
    TypeAdapter(kind).validate_python(body)
    return body


def each_checked(kind: Any, reply: Response) -> list[Any]:
    assert reply.status_code == 200, reply.text
    items: list[Any] = reply.json()["data"]
    assert items
    for item in items:
        TypeAdapter(kind).validate_python(item)
    return items


async def test_models(alice: Client) -> None:
    await alice.new_knowledge_base()

    for model in each_checked(types.Model, await alice.get("/v1/models")):
        checked(types.Model, await alice.get(f"/v1/models/{model['id']}"))


async def test_files_and_vector_stores(alice: Client) -> None:
    store, file, other = await a_shelf_of_two(alice)
    at = f"/v1/vector_stores/{store}"

    checked(types.FileObject, await alice.get(f"/v1/files/{file}"))
    each_checked(types.FileObject, await alice.get("/v1/files"))
    checked(types.VectorStore, await alice.get(at))
    each_checked(types.VectorStore, await alice.get("/v1/vector_stores"))
    checked(vector_stores.VectorStoreFile, await alice.get(f"{at}/files/{file}"))
    each_checked(vector_stores.VectorStoreFile, await alice.get(f"{at}/files"))
    each_checked(vector_stores.FileContentResponse, await alice.get(f"{at}/files/{file}/content"))
    each_checked(
        types.VectorStoreSearchResponse, await alice.post(f"{at}/search", {"query": "When does the buyer pay?"})
    )
    made = await alice.post(f"{at}/file_batches", {"file_ids": [file, other]})
    batch = checked(vector_stores.VectorStoreFileBatch, made)
    each_checked(vector_stores.VectorStoreFile, await alice.get(f"{at}/file_batches/{batch['id']}/files"))

    checked(vector_stores.VectorStoreFileDeleted, await alice.request("DELETE", f"{at}/files/{other}"))
    checked(types.VectorStoreDeleted, await alice.request("DELETE", at))
    checked(types.FileDeleted, await alice.request("DELETE", f"/v1/files/{file}"))


async def test_conversations_and_their_items(alice: Client) -> None:
    made = await alice.post("/v1/conversations", {"metadata": {"a": "b"}, "items": [*SAID, *MORE_SAID]})
    at = f"/v1/conversations/{checked(conversations.Conversation, made)['id']}"

    checked(conversations.ConversationItemList, await alice.get(f"{at}/items"))
    for item in each_checked(conversations.ConversationItem, await alice.get(f"{at}/items")):
        checked(conversations.ConversationItem, await alice.get(f"{at}/items/{item['id']}"))

    checked(conversations.ConversationDeletedResource, await alice.request("DELETE", at))


async def test_what_responses_were_asked_what_they_cost_and_what_they_come_to(alice: Client) -> None:
    body = {"model": MODEL, "input": "Hello"}

    summary = checked(responses.CompactedResponse, await alice.post("/v1/responses/compact", body))
    checked(responses.InputTokenCountResponse, await alice.post("/v1/responses/input_tokens", body))
    for said in (SAID, [*summary["output"], {"role": "user", "content": "x"}]):
        asked = await alice.get(f"/v1/responses/{(await respond(alice, said))['id']}/input_items")
        checked(responses.ResponseItemList, asked)
        assert len(each_checked(responses.ResponseItem, asked)) == len(said)


async def test_chat_completions_and_embeddings(alice: Client) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
    vectors = {"model": "zhipu-embedding-3", "input": "hello", "encoding_format": "float"}

    checked(chat.ChatCompletion, await alice.post("/v1/chat/completions", body))
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = await alice.post("/v1/chat/completions", {**body, **streaming})
    checked(types.CreateEmbeddingResponse, await alice.post("/v1/embeddings", vectors))

    *chunks, done = [block.removeprefix("data: ") for block in streamed.text.split("\n\n") if block]
    assert chunks
    for chunk in chunks:
        TypeAdapter(chat.ChatCompletionChunk).validate_python(json.loads(chunk))
    assert done == "[DONE]"
