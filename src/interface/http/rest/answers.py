"""From a request to the stream of an answer: a new one, or one to go on with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from litestar.types import ASGIApp

from llm_backend.application.answering import (
    AskKnowledgeBase,
    FindAnswer,
    FollowAnswer,
    SendMessage,
    StopAnswer,
)
from llm_backend.application.conversations import ReadHistory
from llm_backend.domain.answers import Answer, AnswerState
from llm_backend.domain.ids import AnswerId, ConversationId, UserId
from llm_backend.interface.http.following import AnswerStream, Opening, nothing_left
from llm_backend.interface.http.options import FramingChoice
from llm_backend.interface.http.requests import ApiRequest, header, last_event, parsed_id
from llm_backend.interface.http.streams import framing_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The use cases around an answer, as one dependency: for a second one Litestar opens a task group, which costs
    three times as much as all the rest of a request (120 µs)."""

    send: SendMessage
    ask: AskKnowledgeBase
    find: FindAnswer
    history: ReadHistory
    follow: FollowAnswer
    stop: StopAnswer
    framing: FramingChoice
    keep_alive: timedelta

    async def begin(
        self,
        request: ApiRequest,
        conversation: ConversationId,
        question: str,
        start: Callable[[], Awaitable[AnswerId]],
    ) -> AnswerStream:
        """The stream of the answer that `start` begins; or, for a client that repeats its request because the
        connection broke, what it has not seen yet of the answer it was following."""
        if seen := last_event(header(request.scope, b"last-event-id")):
            named, after = seen
            answer = await self.find(request.owner, conversation, named)
            if answer and await self._question_of(request.owner, answer) == question:
                return self._stream(request, named, after, Opening.RESUMED)
        return self._stream(request, await start(), 0, Opening.SENT)

    async def resume(self, request: ApiRequest, conversation: ConversationId, after: int) -> ASGIApp:
        """The rest of the answer that `Last-Event-ID` names, else of the running or last one."""
        last_id = header(request.scope, b"last-event-id")
        named, after = last_event(last_id) or (None, parsed_id(last_id or "") or after)
        answer = await self.find(request.owner, conversation, named)
        if answer is None:
            return nothing_left
        running = answer.state is AnswerState.RUNNING
        return self._stream(request, answer.id, after, Opening.RESUMED if running else Opening.REREAD)

    async def _question_of(self, owner: UserId, answer: Answer) -> str | None:
        """What tells a repeated request from the next one: clients may go on sending the last id that they saw."""
        said = (await self.history(owner, answer.conversation)).messages
        return next((message.text for message in said if message.number == answer.number - 1), None)

    def _stream(self, request: ApiRequest, answer: AnswerId, after: int, opening: Opening) -> AnswerStream:
        return AnswerStream(
            follow=partial(self.follow.push, request.owner, answer),
            after=after,
            framing=framing_for(self.framing, header(request.scope, b"accept") or "", answer),
            opening=opening,
            keep_alive=self.keep_alive,
        )
