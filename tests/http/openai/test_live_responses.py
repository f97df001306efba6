"""The client of OpenAI's own, unchanged, against a server on a socket."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from llm_backend.application.backend import Backend
from llm_backend.domain.answers import CallPiece
from llm_backend.interface.http.options import HttpOptions
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.apps import app_over
from tests.http.clients import NO_CERTIFICATES, Client
from tests.live import serving

MODEL = "gpt-4o"
TEXT = "Rust 是一种系统编程语言"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Says what the weather is like",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}


@pytest.fixture
async def sdk(backend: Backend, options: HttpOptions, alice: Client) -> AsyncIterator[openai.AsyncOpenAI]:
    """Alice's, with an API key."""
    key = (await alice.with_key()).token
    with app_over(backend, options) as app:
        async with (
            serving(app) as server,
            openai.DefaultAsyncHttpxClient(verify=NO_CERTIFICATES) as http,
            openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, http_client=http) as client,
        ):
            yield client


async def test_basic_text(sdk: openai.AsyncOpenAI) -> None:
    response = await sdk.responses.create(model=MODEL, input="What is Rust?")

    assert response.output_text == TEXT
    assert response.status == "completed"
    assert response.usage is not None
    assert (await sdk.responses.retrieve(response.id)).output_text == TEXT


async def test_streaming(sdk: openai.AsyncOpenAI) -> None:
    async with sdk.responses.stream(model=MODEL, input="What is Rust?") as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()

    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert final.output_text == TEXT


async def test_resuming(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.responses.create(model=MODEL, input="What is Rust?", background=True, stream=True)
    events = [event async for event in stream]
    created: Any = events[0]

    for after in range(len(events)):
        rest = await sdk.responses.retrieve(created.response.id, stream=True, starting_after=after)
        assert [event async for event in rest] == events[after + 1 :]


async def test_a_system_prompt(sdk: openai.AsyncOpenAI, model: ScriptedChatModel) -> None:
    await sdk.responses.create(
        model=MODEL, input=[{"role": "system", "content": "Talk like a pirate"}, {"role": "user", "content": "Hi"}]
    )

    assert [(turn.role, turn.text) for turn in model.requests[-1].turns] == [
        ("system", "Talk like a pirate"),
        ("user", "Hi"),
    ]


async def test_a_tool_call(sdk: openai.AsyncOpenAI, model: ScriptedChatModel) -> None:
    model.play_next(CallPiece("", 0, '{"city":', "call_1", "weather"), CallPiece("", 0, '"Paris"}'))
    asked = await sdk.responses.create(model=MODEL, input="Weather in Paris?", tools=[WEATHER])
    call: Any = asked.output[0]

    answer = await sdk.responses.create(
        model=MODEL,
        previous_response_id=asked.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}],
        tools=[WEATHER],
    )

    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city":"Paris"}')
    assert answer.output_text == TEXT
    assert model.requests[-1].turns[-1].text == "Sunny"


async def test_an_image(sdk: openai.AsyncOpenAI, model: ScriptedChatModel) -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    content: Any = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ]

    await sdk.responses.create(model=MODEL, input=[{"role": "user", "content": content}])

    assert len(model.requests[-1].turns[0].parts) == 2


async def test_several_turns(sdk: openai.AsyncOpenAI, model: ScriptedChatModel) -> None:
    first = await sdk.responses.create(model=MODEL, input="My name is Alice")
    history: Any = [
        {"role": "user", "content": "My name is Alice"},
        *[item.model_dump() for item in first.output],
        {"role": "user", "content": "Who am I?"},
    ]
    second = await sdk.responses.create(model=MODEL, input=history, store=False)

    assert [turn.role for turn in model.requests[-1].turns] == ["user", "assistant", "user"]
    assert second.output_text == TEXT


async def test_conversations(sdk: openai.AsyncOpenAI) -> None:
    conversation = await sdk.conversations.create(metadata={"topic": "demo"})
    await sdk.responses.create(model=MODEL, input="Hello", conversation=conversation.id)
    items = [item async for item in sdk.conversations.items.list(conversation.id, order="asc", limit=1)]
    removed = await sdk.conversations.items.delete(items[0].id or "", conversation_id=conversation.id)

    assert [item.type for item in items] == ["message", "message"]
    assert removed.id == conversation.id
    assert (await sdk.conversations.delete(conversation.id)).deleted


async def test_cancelling_deleting_and_listing_input(sdk: openai.AsyncOpenAI) -> None:
    response = await sdk.responses.create(model=MODEL, input="Hello", background=True)
    await sdk.responses.cancel(response.id)
    items = [item async for item in sdk.responses.input_items.list(response.id)]
    await sdk.responses.delete(response.id)

    assert len(items) == 1
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(response.id)
