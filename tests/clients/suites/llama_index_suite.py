"""LlamaIndex with `OpenAILike` and `OpenAILikeEmbedding`. The server and a key are in its environment."""

import os

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

HELLO = [ChatMessage(role="user", content="Hello")]
PIXEL = b"\x89PNG\r\n\x1a\n"


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


def get_weather(place: str) -> str:
    """What the weather is like in a place."""
    return f"Sunny in {place}"


@pytest.fixture
def llm() -> OpenAILike:
    return OpenAILike(
        model="plausible",
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )


def test_chat(llm: OpenAILike) -> None:
    assert llm.chat(HELLO).message.content == "You said: Hello"


async def test_chat_in_an_event_loop(llm: OpenAILike) -> None:
    assert (await llm.achat(HELLO)).message.content == "You said: Hello"


def test_streamed_chat(llm: OpenAILike) -> None:
    assert "".join(piece.delta or "" for piece in llm.stream_chat(HELLO)) == "You said: Hello"


async def test_streamed_chat_in_an_event_loop(llm: OpenAILike) -> None:
    pieces = [piece.delta or "" async for piece in await llm.astream_chat(HELLO)]

    assert "".join(pieces) == "You said: Hello"


def test_completion_over_a_chat_model(llm: OpenAILike) -> None:
    assert llm.complete("Hello").text == "You said: Hello"


def test_conversation(llm: OpenAILike) -> None:
    said = ChatMessage(role="assistant", content="Well?")

    reply = llm.chat([ChatMessage(role="system", content="Be brief."), *HELLO, said, *HELLO])

    assert reply.message.content == "You said: Hello"


def test_image(llm: OpenAILike) -> None:
    picture = ImageBlock(image=PIXEL, image_mimetype="image/png")

    reply = llm.chat([ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), picture])])

    assert reply.message.content == "I see image_url."


def test_tool_call(llm: OpenAILike) -> None:
    reply = llm.predict_and_call([FunctionTool.from_defaults(get_weather)], "How is the weather in Paris?")

    assert str(reply) == "Sunny in Paris"


def test_streamed_tool_call(llm: OpenAILike) -> None:
    tool = FunctionTool.from_defaults(get_weather)

    *_, last = llm.stream_chat_with_tools([tool], "How is the weather in Paris?")

    (call,) = llm.get_tool_calls_from_response(last)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"place": "Paris"})


def test_structured_output(llm: OpenAILike) -> None:
    reply = llm.as_structured_llm(Joke).chat(HELLO)

    assert isinstance(reply.raw, Joke)


def test_embeddings() -> None:
    model = OpenAILikeEmbedding(
        model_name="hash-1024", api_base=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"]
    )

    several = model.get_text_embedding_batch(["hello", "world"])

    assert [len(vector) for vector in several] == [1024, 1024]
    assert model.get_query_embedding("hello") == pytest.approx(several[0])
