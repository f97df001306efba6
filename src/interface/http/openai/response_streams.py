"""Replies that follow a response to its end: as a stream, or in one piece."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from llm_backend.application.answering import FollowAnswer
from llm_backend.application.compacting import CompactResponse
from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.stream_log import LogReader
from llm_backend.application.recalling import RecallResponse
from llm_backend.application.responses import (
    Begun,
    CancelResponse,
    CountInput,
    DeleteResponse,
    FindResponse,
    ForgetResponse,
    Respond,
)
from llm_backend.domain.answers import Failed
from llm_backend.domain.errors import ResponseNotFound
from llm_backend.domain.ids import UserId
from llm_backend.domain.responses import Response
from llm_backend.interface.http.errors import reply_to_code
from llm_backend.interface.http.following import AnswerStream, Opening
from llm_backend.interface.http.openai.completions import JsonBytes
from llm_backend.interface.http.openai.response_events import ResponseEvents, ResponseFraming
from llm_backend.interface.http.openai.response_objects import response_out

Follow = Callable[[LogReader], Awaitable[None]]

_encode = msgspec.json.Encoder().encode


class ResponseStream(AnswerStream):
    """The same for a response, which has something to say before its answer begins."""

    __slots__ = ()

    async def _write_events(self) -> None:
        assert isinstance(self.framing, ResponseFraming)
        if (opening := self.framing.opening()) and (unsent := self._write(opening)):
            await unsent
        await super()._write_events()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDesk:
    """The use cases around a response, as one dependency (see `Answers`)."""

    respond: Respond
    count: CountInput
    compact: CompactResponse
    find: FindResponse
    cancel: CancelResponse
    delete: DeleteResponse
    forget: ForgetResponse
    follow: FollowAnswer
    recall: RecallResponse
    keep_alive: timedelta

    async def stream(self, owner: UserId, begun: Begun, *, with_results: bool) -> ASGIApp:
        """The events of a response that has just begun. What fails at once is a status, if nobody else looks for it.
        The repeated request for one that has ended gives its events once more."""
        if begun.response.reply is not None:
            return await self.resume(owner, begun.response, with_results=with_results)
        opening = Opening.RESUMED if begun.response.request.background else Opening.SENT
        events = ResponseEvents(begun.response, with_results=with_results)
        follow = partial(begun.shelf.follow.push, owner, begun.response.answer.id)
        stream = self._stream(follow, events, opening)
        return self._let_go_after(stream, owner, begun)

    async def resume(self, owner: UserId, response: Response, after: int = -1, *, with_results: bool) -> ASGIApp:
        """Those that come after number `after`. Raises `EventsForgotten`."""
        events = ResponseEvents(response, after, with_results=with_results)
        recalled = await self.recall(response, from_start=after < 0)
        if recalled is not None:
            return self._stream(partial(_once_more, recalled), events, Opening.RESUMED)
        return self._stream(partial(self.follow.push, owner, response.answer.id), events, Opening.RESUMED)

    def whole(self, owner: UserId, begun: Begun, *, with_results: bool) -> ASGIApp:
        """The response when it has ended. What it failed of without a word is the status."""

        async def reply(scope: Scope, receive: Receive, send: Send) -> None:
            failure = await self._end_of(owner, begun)
            try:
                response = await begun.shelf.responses.find(owner, begun.response.answer.id)
            except ResponseNotFound:
                code, message = (
                    (failure.code, failure.message) if failure else (ResponseNotFound.code, "It was deleted")
                )
                await reply_to_code(code, message, scope)(scope, receive, send)
                return
            await JsonBytes(_encode(response_out(response, with_results=with_results)))(scope, receive, send)

        return self._let_go_after(reply, owner, begun)

    async def _end_of(self, owner: UserId, begun: Begun) -> Failed | None:
        last = None
        async with aclosing(begun.shelf.follow(owner, begun.response.answer.id)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                last = batch[-1][1]
        return last if isinstance(last, Failed) else None

    def _stream(self, follow: Follow, events: ResponseEvents, opening: Opening) -> ASGIApp:
        framing = ResponseFraming(events)
        return ResponseStream(follow=follow, after=0, framing=framing, opening=opening, keep_alive=self.keep_alive)

    def _let_go_after(self, app: ASGIApp, owner: UserId, begun: Begun) -> ASGIApp:
        """What is not stored is nobody's once its reader has gone."""
        if begun.shelf is not self.respond.in_passing:
            return app
        return _Afterwards(app, partial(self.forget, owner, begun.response))


async def _once_more(events: Sequence[NumberedEvent], reader: LogReader) -> None:
    reader.take(events)


@dataclass(frozen=True, slots=True)
class _Afterwards:
    """An ASGI application, and what is to be done when it has ended in whatever way."""

    app: ASGIApp
    then: Callable[[], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            await self.then()
