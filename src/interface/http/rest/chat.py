"""`/api/chat`: ask, and follow the answer."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, get, post
from litestar.params import FromPath, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from llm_backend.application.answering import FindAnswer
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import LARGEST_ID, ConversationId
from llm_backend.interface.http.documentation import SIGNED_IN, AskOperation, FollowOperation, failures, streams
from llm_backend.interface.http.errors import InvalidConversationId, reply_to
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.requests import ApiRequest, conversation_in, parsed_id
from llm_backend.interface.http.rest.answers import Answers
from llm_backend.interface.http.rest.parameters import Asked, Body, MessageOut

TAGS = ["Chat"]


class QuestionIn(msgspec.Struct):
    message: str


class ChatController(Controller):
    path = "/chat"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/{conversation_id:str}",
        status_code=200,
        operation_class=AskOperation,
        responses=streams() | failures(400, 401, 404, 409, 413, 429, 500, 503, 507),
    )
    async def send(
        self, conversation_id: FromPath[str], data: Body[QuestionIn], answers: Asked[Answers], request: ApiRequest
    ) -> ASGIApp:
        """Ask, and read the answer as it is written. It is written to its end, whoever stays to read it."""
        number = parsed_id(conversation_id)
        if number is None:
            raise InvalidConversationId
        conversation, key = ConversationId(number), idempotency(request.scope, data)
        return await answers.begin(
            request,
            conversation,
            data.message,
            lambda: answers.send(request.owner, conversation, data.message, idempotency=key),
        )

    @get(
        "/{conversation_id:str}/stream",
        operation_class=FollowOperation,
        responses=streams(can_be_empty=True) | failures(400, 401, 404, 503),
    )
    async def follow(
        self,
        conversation_id: FromPath[str],
        answers: Asked[Answers],
        request: ApiRequest,
        after: Annotated[int, QueryParameter(ge=0, le=LARGEST_ID)] = 0,
    ) -> ASGIApp:
        """Go on reading the running or last answer, after event number `after` or the one in `Last-Event-ID`."""
        return await answers.resume(request, conversation_in(conversation_id), after)

    @post("/{conversation_id:str}/stop", status_code=200, responses=failures(401, 404, 503, 507))
    async def stop(self, conversation_id: FromPath[str], answers: Asked[Answers], request: ApiRequest) -> MessageOut:
        """End the running answer where it is. What was written of it is kept."""
        stopped = await answers.stop(request.owner, conversation_in(conversation_id))
        return MessageOut("Answer stopped" if stopped else "No answer is running")


def missing_goes_first(find: FindAnswer) -> Callable[[Request[Any, Any, Any], Exception], Any]:
    """An exception handler for routes with a conversation's id in the path.

    404 goes before 400, but bodies are read before the conversation is looked for. So it is looked for once more when
    a body was bad, and good requests pay nothing for the order.
    """

    def handler(request: Request[Any, Any, Any], error: Exception) -> Any:
        return _ConversationFirst(find, request, error)

    return handler


class _ConversationFirst:
    def __init__(self, find: FindAnswer, request: Request[Any, Any, Any], error: Exception) -> None:
        self._find = find
        self._request = request
        self._error = error

    def to_asgi_response(self, *_: object, **__: object) -> "_ConversationFirst":
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error
        number = parsed_id(str(scope["path_params"].get("conversation_id", "")))
        if number is not None:
            try:
                await self._find(scope["auth"].user, ConversationId(number))
            except DomainError as missing:
                error = missing
        await reply_to(error, scope)(scope, receive, send)
