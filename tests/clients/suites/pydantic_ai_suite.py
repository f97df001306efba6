"""Pydantic AI's agents on its OpenAI models. The server and a key are in its environment."""

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, Embedder, ModelHTTPError, NativeOutput
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

PIXEL = BinaryContent(b"\x89PNG\r\n\x1a\n", media_type="image/png")


class Joke(BaseModel):
    setup: str
    punchline: str


def get_weather(place: str) -> str:
    """What the weather is like in a place."""
    return f"Sunny in {place}"


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel], ids=["chat", "responses"])
def model(request: pytest.FixtureRequest) -> Model:
    made: Model = request.param("plausible")
    return made


async def test_run(model: Model) -> None:
    result = await Agent(model, instructions="Be brief.").run("Hello")

    assert result.output == "You said: Hello"
    assert result.usage.output_tokens == 5


def test_run_without_an_event_loop(model: Model) -> None:
    assert Agent(model).run_sync("Hello").output == "You said: Hello"


async def test_streamed_run(model: Model) -> None:
    async with Agent(model).run_stream("Hello") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    assert "".join(pieces) == "You said: Hello"
    assert len(pieces) > 1


async def test_conversation(model: Model) -> None:
    agent = Agent(model)
    first = await agent.run("Hello")

    second = await agent.run("And now?", message_history=first.all_messages())

    assert second.output == "You said: And now?"


async def test_tool(model: Model) -> None:
    result = await Agent(model, tools=[get_weather]).run("How is the weather in Paris?")

    assert result.output == "The tool says: Sunny in Paris"


async def test_streamed_tool(model: Model) -> None:
    async with Agent(model, tools=[get_weather]).run_stream("How is the weather in Paris?") as result:
        assert await result.get_output() == "The tool says: Sunny in Paris"


async def test_structured_output_by_a_tool(model: Model) -> None:
    result = await Agent(model, output_type=Joke, tools=[get_weather]).run("How is the weather in Paris?")

    assert isinstance(result.output, Joke)


async def test_structured_output_by_a_schema(model: Model) -> None:
    result = await Agent(model, output_type=NativeOutput(Joke)).run("Tell me a joke")

    assert isinstance(result.output, Joke)


async def test_streamed_structured_output(model: Model) -> None:
    async with Agent(model, output_type=Joke).run_stream("Tell me a joke") as result:
        assert isinstance(await result.get_output(), Joke)


async def test_image(model: Model) -> None:
    assert (await Agent(model).run(["What is it?", PIXEL])).output == "I see image_url."


async def test_embeddings() -> None:
    result = await Embedder("openai:hash-1024").embed_documents(["hello", "world"])

    assert [len(vector) for vector in result.embeddings] == [1024, 1024]


async def test_an_error_is_told() -> None:
    with pytest.raises(ModelHTTPError) as caught:
        await Agent(OpenAIChatModel("kb:nothing")).run("Hello")

    assert caught.value.status_code == 404
