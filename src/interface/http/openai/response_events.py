"""The stream of a response: what happens to its answer, as numbered events.

An event's number goes by all that came before it, and by nothing else. So the stream is made from the beginning for
every reader, and those who have seen a part of it get the rest. The one exception is the end behind an interruption: a
reader may have seen more than was stored, and must still hear of the end, with the whole text and its citations.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import STOPPED, CallPiece, Cited, Delta, Done, Failed, FullText
from llm_backend.domain.citations import cited
from llm_backend.domain.items import FunctionCall, Said, Speaker
from llm_backend.domain.markers import Unmarked
from llm_backend.domain.outputs import CallSection, Outline, TextSection
from llm_backend.domain.responses import Response
from llm_backend.interface.http.openai.item_ids import placed_id
from llm_backend.interface.http.openai.response_objects import (
    CUT,
    FunctionCallOut,
    ItemOut,
    OutputTextOut,
    ResponseOut,
    Status,
    answer_out,
    begun_out,
    broken_off,
    completed,
    file_search_out,
    queued_out,
    text_out,
    usage_out,
)

Wire = tuple[str, bytes]
"""The type of an event, and its JSON."""

_encode = msgspec.json.Encoder().encode
_EMPTY = Said(speaker=Speaker.ASSISTANT, parts=())
_NO_CALL = FunctionCall(call_id="", name="", arguments="")


class ResponseEvents:
    """Turns the events of an answer, from its first on, into those of its response that come after number `after`.

    Where the answer was interrupted (see `INTERRUPTION_GAP`) a reader may have seen pieces that nobody stored, and so
    numbers beyond all that there are now: whoever is that far is told how it ends, from the next number on. Who has
    seen as many as there are now may have seen just those, and is told the last one once more.
    """

    def __init__(self, response: Response, after: int = -1, *, with_results: bool = False) -> None:
        self._response = response
        self._after = after
        self._with_results = with_results
        self._number = -1
        self._fed = 0  # the number of the last event of the answer
        self._was_interrupted = False
        self._told: list[Wire] = []
        self._ending: list[tuple[str, dict[str, Any]]] | None = None  # what ends it, until it is known how much that is
        self._outline = Outline()
        self._texts: dict[int, Unmarked] = {}
        self._parts: dict[int, OutputTextOut] = {}
        self._closed: set[int] = set()
        self._done = Done()
        self._is_broken_off = False
        self._before = 1 if response.request.searched else 0  # items that come before those of the model

    def opening(self) -> list[Wire]:
        """What can be said before the model says anything."""
        queued = self._response.request.background
        self._tell_response("response.created", begun_out(self._response, queued=queued))
        if queued:
            self._tell_response("response.queued", queued_out(self._response))
        self._tell_response("response.in_progress", begun_out(self._response))
        if self._response.request.searched:
            self._tell_search()
        return self._taken()

    def feed(self, numbered: NumberedEvent) -> list[Wire]:
        number, event = numbered
        if number > self._fed + 1:
            self._was_interrupted = True
        self._fed = number
        match event:
            case CallPiece():
                self._call(event)
            case Delta(text):
                self._say(text)
            case Done():
                self._done = event
            case FullText():
                self._complete()
            case Failed(code):
                self._break_off(code)
            case Cited():
                pass
        return self._taken()

    def failure(self, code: str, message: str) -> list[Wire]:
        """Something went wrong with the stream, and not with the response: it has the number of the event before it, so
        that nobody who goes on after it misses one."""
        number = max(self._number, self._after, 0)
        told = {"type": "error", "sequence_number": number, "code": code, "message": message, "param": None}
        self._told.append(("error", _encode(told)))
        return self._taken()

    # Telling ---------------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, **fields: Any) -> None:
        if self._ending is not None:
            self._ending.append((kind, fields))
            return
        self._number += 1
        if self._number > self._after:
            self._told.append((kind, _encode({"type": kind, "sequence_number": self._number, **fields})))

    def _tell_response(self, kind: str, response: ResponseOut) -> None:
        self._tell(kind, response=response)

    def _tell_end(self, kind: str, response: ResponseOut) -> None:
        """What has been put off since `_ending` was begun, and the last event."""
        ending, self._ending = self._ending or [], None
        if self._was_interrupted and self._number + len(ending) + 1 < self._after:
            self._number = self._after
        for one, fields in ending:
            self._tell(one, **fields)
        if self._was_interrupted:
            self._number = max(self._number, self._after)
        self._tell_response(kind, response)

    def _taken(self) -> list[Wire]:
        told, self._told = self._told, []
        return told

    def _tell_search(self) -> None:
        done = file_search_out(self._response, with_results=self._with_results)
        begun = msgspec.structs.replace(done, status="in_progress", results=None)
        where = {"item_id": done.id, "output_index": 0}
        self._tell("response.output_item.added", output_index=0, item=begun)
        for step in ("in_progress", "searching", "completed"):
            self._tell(f"response.file_search_call.{step}", **where)
        self._tell("response.output_item.done", output_index=0, item=done)

    # Text ------------------------------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        """The hot path."""
        if not text:
            return
        section = self._outline.feed(Delta(text))
        unmarked = self._texts.get(section.place) or self._open_text(section.place)
        self._tell_text(section.place, unmarked.feed(text))

    def _open_text(self, place: int) -> Unmarked:
        unmarked = self._texts[place] = Unmarked({source.number for source in self._response.sources})
        item = answer_out(self._id(place), "in_progress", [])
        self._tell("response.output_item.added", output_index=self._index(place), item=item)
        self._tell("response.content_part.added", **self._where(place), part=OutputTextOut("", []))
        return unmarked

    def _tell_text(self, place: int, told: str) -> None:
        if told:
            self._tell("response.output_text.delta", **self._where(place), delta=told, logprobs=[])

    def _part(self, place: int) -> OutputTextOut:
        """A text to which nothing is added any more, with its citations."""
        if place not in self._parts:
            unmarked = self._texts[place]
            self._parts[place] = text_out(unmarked, cited(unmarked.raw, self._response.sources))
        return self._parts[place]

    def _close_text(self, place: int) -> None:
        self._tell_text(place, self._texts[place].finish())
        part = self._part(place)
        for index, annotation in enumerate(part.annotations):
            self._tell(
                "response.output_text.annotation.added",
                **self._where(place),
                annotation_index=index,
                annotation=annotation,
            )
        self._tell("response.output_text.done", **self._where(place), text=part.text, logprobs=[])
        self._tell("response.content_part.done", **self._where(place), part=part)
        self._tell_done(place)

    # Calls -----------------------------------------------------------------------------------------------------------

    def _call(self, piece: CallPiece) -> None:
        before = len(self._outline.sections)
        section = self._outline.feed(piece)
        if len(self._outline.sections) > before:
            self._close_texts()
            self._tell("response.output_item.added", output_index=self._index(section.place), item=self._begun(section))
        if piece.arguments:
            self._tell("response.function_call_arguments.delta", **self._of(section.place), delta=piece.arguments)

    def _begun(self, section: object) -> ItemOut:
        assert isinstance(section, CallSection)
        return FunctionCallOut(self._id(section.place), section.call_id, section.name, "", "in_progress")

    def _close_call(self, section: CallSection) -> None:
        place = section.place
        self._tell(
            "response.function_call_arguments.done",
            **self._of(place),
            name=section.name,
            arguments=section.arguments,
        )
        self._tell_done(place)

    # The end ---------------------------------------------------------------------------------------------------------

    def _close_texts(self) -> None:
        for place in self._texts:
            if place not in self._closed:
                self._closed.add(place)
                self._close_text(place)

    def _complete(self) -> None:
        self._ending = []
        self._close_texts()
        for section in self._outline.sections:
            if isinstance(section, CallSection):
                self._close_call(section)
        at = int(self._done.at.timestamp()) if self._done.at else None
        out = completed(self._whole(), at, self._done.finish_reason)
        self._tell_end(f"response.{out.status}", out)

    def _break_off(self, code: str) -> None:
        """What has begun ends as well, incomplete: nobody shall wait for the rest of an item."""
        self._is_broken_off = True
        self._ending = []
        self._close_texts()
        for section in self._outline.sections:
            if isinstance(section, CallSection):
                self._tell_done(section.place)
        out = broken_off(self._whole(), code)
        self._tell_end("response.incomplete" if code == STOPPED else "response.failed", out)

    def _whole(self) -> ResponseOut:
        out = begun_out(self._response)
        if self._response.request.searched:
            out.output.append(file_search_out(self._response, with_results=self._with_results))
        out.output += [self._item(section.place) for section in self._outline.sections]
        out.usage = usage_out(self._done.usage)
        return out

    def _tell_done(self, place: int) -> None:
        self._tell("response.output_item.done", output_index=self._index(place), item=self._item(place))

    def _item(self, place: int) -> ItemOut:
        is_cut = self._is_broken_off or self._done.finish_reason in CUT
        status: Status = "incomplete" if is_cut else "completed"
        section = self._outline.sections[place]
        if isinstance(section, TextSection):
            return answer_out(self._id(place), status, [self._part(place)])
        return FunctionCallOut(self._id(place), section.call_id, section.name, section.arguments, status)

    # Names -----------------------------------------------------------------------------------------------------------

    def _id(self, place: int) -> str:
        answer = self._response.answer
        is_text = isinstance(self._outline.sections[place], TextSection)
        return placed_id(_EMPTY if is_text else _NO_CALL, answer.conversation, answer.number, place)

    def _index(self, place: int) -> int:
        return self._before + place

    def _of(self, place: int) -> dict[str, Any]:
        return {"item_id": self._id(place), "output_index": self._index(place)}

    def _where(self, place: int) -> dict[str, Any]:
        return {**self._of(place), "content_index": 0}


class ResponseFraming:
    """`Framing` of a response's events as server-sent ones."""

    keeps_alive: Literal[True] = True

    def __init__(self, events: ResponseEvents) -> None:
        self._events = events

    def opening(self) -> bytes:
        return framed(self._events.opening())

    def encode(self, batch: Sequence[NumberedEvent]) -> bytes:
        return b"".join([framed(self._events.feed(numbered)) for numbered in batch])

    def encode_failure(self, failure: Failed) -> bytes:
        return framed(self._events.failure(failure.code, failure.message))


def framed(events: Sequence[Wire]) -> bytes:
    return b"".join([b"event: %b\ndata: %b\n\n" % (kind.encode(), data) for kind, data in events])
