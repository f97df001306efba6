"""`/v1/chat/completions`: answers that nobody keeps, in the words of the client and of the model's server."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any

import msgspec
from litestar import Controller, post
from litestar.types import ASGIApp, Receive, Scope, Send

from llm_backend.application.answering import RECALLED_FOR_SEARCH
from llm_backend.application.completions import CompleteChat, StreamChat, Talk
from llm_backend.application.ports.completions import VerbatimRequest
from llm_backend.domain import api_keys
from llm_backend.domain.conversations import Role
from llm_backend.domain.errors import InvalidMessage
from llm_backend.interface.http.documentation import SIGNED_IN
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.documentation import UPSTREAM, CompletionOperation, openai_failures
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai.streaming import EventStream
from llm_backend.interface.http.requests import decoded
from llm_backend.interface.http.rest.parameters import Asked

TAGS = ["OpenAI"]

ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class CompletionIn(msgspec.Struct):
    """What is looked at; all the rest goes to the model's server as it is."""

    model: ModelName
    messages: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class TextPart(msgspec.Struct):
    text: str | None = None


class MessageIn(msgspec.Struct):
    role: str
    content: str | list[TextPart] | None = None


@dataclass(frozen=True, slots=True)
class Chats:
    """The use cases of this route as one dependency: two would be resolved in tasks of their own."""

    complete: CompleteChat
    stream: StreamChat


class CompletionsController(Controller):
    path = "/chat/completions"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/",
        status_code=200,
        opt=good_for(api_keys.Scope.CHAT),
        operation_class=CompletionOperation,
        responses=openai_failures(404, 413, 429, *UPSTREAM),
    )
    async def create(self, chats: Asked[Chats], request: OpenAiRequest) -> ASGIApp:
        """Answer a conversation that the client keeps, in one piece or as a stream of events."""
        body = await request.body()
        asked = decoded(body, CompletionIn)
        verbatim = VerbatimRequest(model=asked.model, content=body, shows_usage=_wants_usage(asked))
        access = request.access
        if asked.stream:
            return EventStream(lambda pour: chats.stream(access, verbatim, lambda: talk_in(asked.messages), pour))
        reply = await chats.complete(access, verbatim, lambda: talk_in(asked.messages))
        return JsonBytes(reply.content)


def talk_in(messages: Sequence[msgspec.Raw]) -> Talk:
    """The text of what a user said last, and some of what was said before. Raises `InvalidMessage`."""
    said = (decoded(bytes(raw), MessageIn) for raw in reversed(messages))
    texts = ((Role(one.role), _text_of(one)) for one in said if one.role in {Role.USER, Role.ASSISTANT})
    backwards = ((role, text) for role, text in texts if text.strip())
    for role, text in backwards:
        if role is Role.USER:
            before = list(islice(backwards, RECALLED_FOR_SEARCH))
            return Talk(question=text, before=before[::-1])
    raise InvalidMessage


def _text_of(said: MessageIn) -> str:
    parts = said.content if isinstance(said.content, list) else [TextPart(said.content)]
    return "\n".join(part.text for part in parts if part.text)


def _wants_usage(asked: CompletionIn) -> bool:
    return asked.stream_options is not None and bool(asked.stream_options.include_usage)


@dataclass(frozen=True, slots=True)
class JsonBytes:
    """An ASGI application that replies with JSON that is bytes already."""

    content: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        length = str(len(self.content)).encode()
        headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.content, "more_body": False})
