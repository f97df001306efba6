"""OpenAI's client for Python, of whatever version runs this. The server and a key are in its environment."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

MODEL = "plausible"
HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
IN_PARIS: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


class Joke(BaseModel):
    setup: str
    punchline: str


@pytest.fixture
def client() -> OpenAI:
    return OpenAI(max_retries=0, timeout=30)


def test_models(client: OpenAI) -> None:
    listed = [model.id for model in client.models.list()]

    assert {"demo", "plausible", "hash-1024"} <= set(listed)
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("kb:nothing")
    assert caught.value.code == "model_not_found"


def test_completion(client: OpenAI) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=HELLO)

    assert reply.choices[0].message.content == "You said: Hello"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply._request_id


def test_streamed_completion_with_usage(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )

    *chunks, last = list(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: Hello"
    assert last.choices == []
    assert last.usage is not None


def test_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        kinds = {event.type for event in stream}

        assert stream.get_final_completion().choices[0].message.content == "You said: Hello"
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_tool_call_and_its_result(client: OpenAI) -> None:
    (call,) = (
        client.chat.completions.create(model=MODEL, messages=IN_PARIS, tools=[WEATHER]).choices[0].message.tool_calls
        or []
    )
    assert call.type == "function"
    said: Any = {"role": "assistant", "tool_calls": [call.model_dump()]}
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Sunny"}

    reply = client.chat.completions.create(model=MODEL, messages=[*IN_PARIS, said, result], tools=[WEATHER])

    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"place": "Paris"})
    assert reply.choices[0].message.content == "The tool says: Sunny"


def test_streamed_tool_call(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=IN_PARIS, tools=[WEATHER]) as stream:
        stream.until_done()
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []

    assert json.loads(call.function.arguments) == {"place": "Paris"}


def test_structured_output(client: OpenAI) -> None:
    reply = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Joke)

    assert isinstance(reply.choices[0].message.parsed, Joke)


def test_image(client: OpenAI) -> None:
    parts: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]

    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])

    assert reply.choices[0].message.content == "I see image_url."


def test_embeddings(client: OpenAI) -> None:
    by_default = client.embeddings.create(model="hash-1024", input=["hello", "world"])
    floats = client.embeddings.create(model="hash-1024", input=["hello", "world"], encoding_format="float")
    of_tokens = client.embeddings.create(model="hash-1024", input=[[1, 2], [3]], dimensions=256)
    of_the_provider = client.embeddings.create(model="plausible-embedding", input="hello")

    assert by_default.data[0].embedding == pytest.approx(floats.data[0].embedding)
    assert [len(entry.embedding) for entry in of_tokens.data] == [256, 256]
    assert of_the_provider.data[0].embedding[:2] == [5.0, 6.0]


def test_wrong_key(client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk-wrong").models.list()

    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


def test_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[])

    assert caught.value.param == "messages"


def test_unknown_path(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.images.generate(prompt="A cat")


def test_files(client: OpenAI, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The seller delivers within ten days.")

    file = client.files.create(file=tmp_path / "notes.txt", purpose="user_data")

    assert client.files.retrieve(file.id).filename == "notes.txt"
    assert client.files.content(file.id).read() == (tmp_path / "notes.txt").read_bytes()
    assert file.id in [each.id for each in client.files.list(limit=1)]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_vector_store(client: OpenAI) -> None:
    store = client.vector_stores.create(name="Contracts", metadata={"of": "tests"})
    file = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id,
        file=("seller.txt", b"The seller delivers within ten days."),
        attributes={"year": 2024},
    )
    wanted: Any = {"type": "gte", "key": "year", "value": 2024}

    (hit,) = client.vector_stores.search(store.id, query="When does the seller deliver?", filters=wanted)

    assert file.status == "completed"
    assert (hit.filename, hit.file_id) == ("seller.txt", file.id)
    assert client.vector_stores.retrieve(store.id).file_counts.completed == 1
    assert store.id in [each.id for each in client.vector_stores.list()]
    assert [each.id for each in client.vector_stores.files.list(store.id)] == [file.id]
    assert client.vector_stores.files.update(
        file.id, vector_store_id=store.id, attributes={"year": 2023}
    ).attributes == {"year": 2023}
    assert client.vector_stores.delete(store.id).deleted


def test_file_batch(client: OpenAI) -> None:
    store = client.vector_stores.create(name="Batch")
    files: Any = [(f"{number}.txt", f"This is text number {number}.".encode()) for number in range(3)]

    batch = client.vector_stores.file_batches.upload_and_poll(vector_store_id=store.id, files=files)

    assert (batch.status, batch.file_counts.completed) == ("completed", 3)


def test_knowledge_base_is_a_model(client: OpenAI) -> None:
    store = client.vector_stores.create(name="Holidays")
    file = ("holidays.txt", b"Employees get 30 days of holiday each year.")
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=file)
    (model,) = [model.id for model in client.models.list() if model.id.replace("-", "").endswith(store.id[3:])]

    question: Any = [{"role": "user", "content": "How many days of holiday do employees get?"}]
    reply = client.chat.completions.create(model=model, messages=question)

    assert reply.choices[0].message.content


# Responses and conversations


def test_response(client: OpenAI) -> None:
    response = client.responses.create(model=MODEL, input="Hello", instructions="Be brief.")

    assert (response.status, response.output_text) == ("completed", "You said: Hello")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert client.responses.retrieve(response.id) == response
    assert [item.type for item in client.responses.input_items.list(response.id)] == ["message"]
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_streamed_response(client: OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Hello") as stream:
        events = list(stream)

        assert stream.get_final_response().output_text == "You said: Hello"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")


def test_response_resumed_after_every_event(client: OpenAI) -> None:
    events = list(client.responses.create(model=MODEL, input="Hello", stream=True, background=True))
    created: Any = events[0]

    for number in range(len(events)):
        rest = client.responses.retrieve(created.response.id, stream=True, starting_after=number)
        assert list(rest) == events[number + 1 :]


def test_response_that_goes_on(client: OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="Hello")

    second = client.responses.create(model=MODEL, input="And now?", previous_response_id=first.id)
    branch = client.responses.create(model=MODEL, input="Or else?", previous_response_id=first.id)

    assert (second.output_text, branch.output_text) == ("You said: And now?", "You said: Or else?")
    assert second.previous_response_id == branch.previous_response_id == first.id


def test_tool_call_of_a_response(client: OpenAI) -> None:
    tools: Any = [{"type": "function", "strict": False, **WEATHER["function"]}]
    first = client.responses.create(model=MODEL, input="How is the weather in Paris?", tools=tools)
    (call,) = [item for item in first.output if item.type == "function_call"]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}

    second = client.responses.create(model=MODEL, input=[result], tools=tools, previous_response_id=first.id)

    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"place": "Paris"})
    assert second.output_text == "The tool says: Sunny"


def test_structured_output_of_a_response(client: OpenAI) -> None:
    assert isinstance(client.responses.parse(model=MODEL, input="Hello", text_format=Joke).output_parsed, Joke)


def test_image_in_a_response(client: OpenAI) -> None:
    parts: Any = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PIXEL}]

    response = client.responses.create(model=MODEL, input=[{"role": "user", "content": parts}])

    assert response.output_text == "I see image_url."


def test_file_search(client: OpenAI) -> None:
    store = client.vector_stores.create(name="Handbook")
    handbook = ("handbook.txt", b"Employees get 30 days of holiday each year.")
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=handbook)
    tools: Any = [{"type": "file_search", "vector_store_ids": [store.id]}]

    response = client.responses.create(
        model="demo",
        input="How many days of holiday do employees get?",
        tools=tools,
        include=["file_search_call.results"],
    )

    search, message = response.output
    assert search.type == "file_search_call"
    assert search.results
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert [
        (citation.type, citation.filename) for citation in part.annotations if citation.type == "file_citation"
    ] == [("file_citation", "handbook.txt")]


def test_response_in_the_background_and_cancelled(client: OpenAI) -> None:
    response = client.responses.create(model="demo", input="Who are you?", background=True)

    cancelled = client.responses.cancel(response.id)

    assert response.status in {"queued", "in_progress"}
    assert cancelled.status in {"cancelled", "completed"}


def test_conversation(client: OpenAI) -> None:
    conversation = client.conversations.create(items=[{"role": "user", "content": "Call me Ada."}], metadata={"a": "b"})
    client.responses.create(model=MODEL, input="Hello", conversation=conversation.id)

    items = list(client.conversations.items.list(conversation.id, order="asc", limit=1))

    assert [item.type for item in items] == ["message"] * 3
    assert client.conversations.items.retrieve(str(items[0].id), conversation_id=conversation.id) == items[0]
    assert client.conversations.items.delete(str(items[0].id), conversation_id=conversation.id).id == conversation.id
    assert client.conversations.update(conversation.id, metadata={"a": "c"}).metadata == {"a": "c"}
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation.id)


def test_count_of_tokens(client: OpenAI) -> None:
    assert client.responses.input_tokens.count(model=MODEL, input="Hello").input_tokens > 0


def test_compaction(client: OpenAI) -> None:
    compacted = client.responses.compact(model=MODEL, input=[{"role": "user", "content": "Hello"}])

    assert [item.type for item in compacted.output][-1] == "compaction"


def test_websocket(client: OpenAI) -> None:
    with client.responses.connect() as connection:
        connection.response.create(model=MODEL, input="Hello")
        (text,) = [event.response.output_text for event in until_completed(connection)]

    assert text == "You said: Hello"


def until_completed(events: Iterable[Any]) -> Iterator[Any]:
    """The last event alone."""
    for event in events:
        if event.type == "response.completed":
            yield event
            return
