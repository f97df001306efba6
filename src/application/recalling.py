"""Responses that have ended, once more event by event; also after their events have been forgotten."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llm_backend.application.composing_responses import said_of
from llm_backend.application.ports.answer_journal import AnswerJournal, NumberedEvent
from llm_backend.application.writing import REASONS
from llm_backend.domain.answers import AnswerEvent, CallPiece, Delta, Done, Failed, FullText
from llm_backend.domain.conversations import Message, MessageState
from llm_backend.domain.errors import EventsForgotten
from llm_backend.domain.items import FunctionCall, Said
from llm_backend.domain.responses import Response


@dataclass(frozen=True, slots=True)
class RecallResponse:
    """All events of a response that has ended. Once they have been forgotten, those are made up that come to the same:
    each text in one piece."""

    journal: AnswerJournal

    async def __call__(self, response: Response, *, from_start: bool) -> Sequence[NumberedEvent] | None:
        """None while it is being written. Raises `EventsForgotten` when they are gone and not all are wanted: where one
        left off, nobody knows any more."""
        if response.reply is None:
            return None
        if events := await self.journal.events(response.answer.id):
            return events
        if not from_start:
            raise EventsForgotten
        return list(enumerate(_events_of(response.reply), start=1))


def _events_of(reply: Message) -> Iterator[AnswerEvent]:
    for index, item in enumerate(reply.items or [said_of(reply)]):
        match item:
            case Said() if item.text:
                yield Delta(item.text)
            case FunctionCall():
                yield CallPiece("", index, item.arguments, item.call_id, item.name)
            case _:
                pass
    if reply.state is MessageState.COMPLETE:
        yield Done(reply.usage, reply.reason, reply.created_at)
        yield FullText(reply.text)
    else:
        code = reply.reason or ""
        yield Failed(code, REASONS.get(code, "The answer could not be completed"))
