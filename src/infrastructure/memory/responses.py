"""Responses in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.domain.conversations import Message
from llm_backend.domain.errors import ResponseNotFound
from llm_backend.domain.ids import AnswerId, UserId
from llm_backend.domain.responses import Response
from llm_backend.infrastructure.memory.conversations import drop_conversation
from llm_backend.infrastructure.memory.tables import AnswerRow, Place, Tables


@dataclass(frozen=True, slots=True)
class MemoryResponses:
    """Responses by id."""

    place: Place

    async def remove(self, owner: UserId, response: AnswerId) -> None:
        tables = self.place.tables
        conversation = tables.conversations[_row_of(tables, owner, response).answer.conversation]
        if conversation.listed:
            row = tables.answers[response] = _row_of(tables, owner, response).without_response()
            if row.ended_at is not None:
                tables.events.pop(response, None)
        else:
            drop_conversation(tables, conversation)


@dataclass(frozen=True, slots=True)
class MemoryResponseViews:
    """Responses, put together when they are looked at."""

    place: Place

    async def find(self, owner: UserId, response: AnswerId) -> Response:
        return _response(self.place.tables, _row_of(self.place.tables, owner, response))

    async def lineage(self, owner: UserId, response: AnswerId, *, limit: int) -> Sequence[Response]:
        found = [await self.find(owner, response)]
        while len(found) < limit and (previous := found[-1].request.previous) is not None:
            try:
                found.append(await self.find(owner, previous))
            except ResponseNotFound:
                break
        return found[::-1]


def _row_of(tables: Tables, owner: UserId, response: AnswerId) -> AnswerRow:
    row = tables.answers.get(response)
    if row is None or row.response is None or row.answer.owner != owner:
        raise ResponseNotFound
    return row


def _response(tables: Tables, row: AnswerRow) -> Response:
    answer, request = row.answer, row.response
    question = _message(tables, row, answer.number - 1)
    if request is None or question is None:
        raise ResponseNotFound
    return Response(
        answer=answer,
        request=request,
        in_conversation=tables.conversations[answer.conversation].listed,
        question=question,
        reply=_message(tables, row, answer.number),
        sources=row.grounding.sources if row.grounding else (),
        started_at=row.started_at,
    )


def _message(tables: Tables, row: AnswerRow, number: int) -> Message | None:
    said = tables.messages.get(row.answer.conversation, ())
    return next((message for message in said if message.number == number), None)
