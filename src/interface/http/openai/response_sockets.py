"""`/v1/responses` as a WebSocket: one response after the other over one connection, event by event."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
from litestar import WebSocket, websocket

from llm_backend.application.api_keys import Authorize
from llm_backend.application.responses import Begun, WantedResponse
from llm_backend.domain import api_keys
from llm_backend.domain.conversations import Message
from llm_backend.domain.errors import DomainError, PreviousResponseNotFound, ResponseNotFound
from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.interface.http.auth import bearer
from llm_backend.interface.http.errors import logger, openai_object, openai_status
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.ids import RESPONSE, number_in
from llm_backend.interface.http.openai.response_events import ResponseEvents, Wire
from llm_backend.interface.http.openai.response_requests import ResponseIn, allowed, wanted_response, wants_results
from llm_backend.interface.http.openai.response_streams import ResponseDesk
from llm_backend.interface.http.openai_errors import ErrorObject
from llm_backend.interface.http.requests import decoded, header
from llm_backend.interface.http.rest.parameters import Asked

REMEMBERED = 32  # responses of a connection that are stored nowhere else
NOT_STORED = "The previous response was not stored, so what builds upon it cannot be stored, either"

_encode = msgspec.json.Encoder().encode


class CreateIn(ResponseIn, kw_only=True):
    """What clients send: the body of a POST, with a word for what they want."""

    type: Literal["response.create"]


class ErrorEvent(msgspec.Struct):
    """A request that could not be carried out. The connection stays open."""

    status: int
    error: ErrorObject
    type: Literal["error"] = "error"


@websocket("/responses", opt=dict(good_for(api_keys.Scope.CHAT, changes=True)))
async def responses_socket(
    socket: WebSocket[Any, Any, Any], response_desk: Asked[ResponseDesk], authorize: Asked[Authorize]
) -> None:
    """Responses over one connection, until the client closes it."""
    await socket.accept()
    talk = Talk(socket=socket, desk=response_desk, authorize=authorize)
    while (message := await _message(socket)) is not None:
        await talk.answer(message)


async def _message(socket: WebSocket[Any, Any, Any]) -> bytes | None:
    """What the client sends, as text or as bytes; None when it has left. Responses that are stored go on without it."""
    event = await socket.receive()
    if event["type"] != "websocket.receive":
        return None
    text = event.get("text")
    return event.get("bytes") or b"" if text is None else text.encode()


@dataclass(slots=True, kw_only=True)
class Talk:
    """One connection. It remembers what it was told and has told, if nobody else does."""

    socket: WebSocket[Any, Any, Any]
    desk: ResponseDesk
    authorize: Authorize
    _remembered: dict[AnswerId, Sequence[Message]] = field(default_factory=dict)

    async def answer(self, message: bytes) -> None:
        """All events of one response, or an error. A key that has died meanwhile is good for nothing more."""
        try:
            access = await self.authorize(bearer(header(self.socket.scope, b"authorization")))
            body = decoded(message, CreateIn)
            wanted = allowed(access, await self._wanted(access.user, body))
            begun = await self.desk.respond(access.user, wanted, key=access.key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection stays open
            if not isinstance(error, DomainError):
                logger.exception("a request over a connection that stays open crashed")
            event = ErrorEvent(openai_status(error), openai_object(error).error)
            await self.socket.send_text(_encode(event).decode())
        else:
            events = ResponseEvents(begun.response, with_results=wants_results(body))
            await self._tell_all(access.user, begun, wanted, events)

    async def _wanted(self, owner: UserId, body: CreateIn) -> WantedResponse:
        """With what the previous response rests on, if only this connection knows of it: nothing that outlives the
        connection can rest on that."""
        previous = number_in(RESPONSE, body.previous_response_id or "")
        wanted = wanted_response(body)
        if previous is not None and AnswerId(previous) in self._remembered:
            if wanted.stored:
                raise PreviousResponseNotFound(NOT_STORED)
            return replace(wanted, earlier=self._remembered[AnswerId(previous)])
        if previous is not None and not wanted.stored:
            before = await self.desk.respond.prepare.compose.before(owner, AnswerId(previous))
            return replace(wanted, earlier=before)
        return wanted

    async def _tell_all(self, owner: UserId, begun: Begun, wanted: WantedResponse, events: ResponseEvents) -> None:
        passing = begun.shelf is self.desk.respond.in_passing
        try:
            await self._tell(events.opening())
            async with aclosing(begun.shelf.follow(owner, begun.response.answer.id)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    for numbered in batch:
                        await self._tell(events.feed(numbered))
            if passing:
                await self._remember(owner, begun, wanted)
        except DomainError as error:
            await self._tell(events.failure(error.code, str(error)))
        finally:
            if passing:
                await self.desk.forget(owner, begun.response)

    async def _remember(self, owner: UserId, begun: Begun, wanted: WantedResponse) -> None:
        """Unless it failed before its first word."""
        try:
            response = await begun.shelf.responses.find(owner, begun.response.answer.id)
        except ResponseNotFound:
            return
        reply = [response.reply] if response.reply else []
        self._remembered[response.answer.id] = [*wanted.earlier, response.question, *reply]
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    async def _tell(self, events: Sequence[Wire]) -> None:
        for _, data in events:
            await self.socket.send_text(data.decode())
