"""What a model has put out so far: texts and calls of functions, in the order in which they began."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from llm_backend.domain.answers import AnswerEvent, CallPiece, Delta
from llm_backend.domain.items import FunctionCall, Item, Said, Speaker, TextPart


@dataclass(slots=True)
class TextSection:
    place: int
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(slots=True)
class CallSection:
    place: int
    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


Section: TypeAlias = TextSection | CallSection


class Outline:
    """The sections of an answer. A text goes on until a call begins; calls go on until the end of the answer."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self._calls: dict[int, CallSection] = {}

    def feed(self, delta: Delta) -> Section:
        """Add a piece; the section that it belongs to, which may be new. Not for texts of no characters."""
        if not isinstance(delta, CallPiece):
            section = self._text()
            section.pieces.append(delta.text)
            return section
        call = self._call(delta)
        call.pieces.append(delta.arguments)
        return call

    def items(self) -> tuple[Item, ...]:
        return tuple(map(_item, self.sections))

    def _text(self) -> TextSection:
        last = self.sections[-1] if self.sections else None
        if isinstance(last, TextSection):
            return last
        section = TextSection(len(self.sections))
        self.sections.append(section)
        return section

    def _call(self, piece: CallPiece) -> CallSection:
        """A call without an id, which some servers send, is named by its place."""
        call = self._calls.get(piece.index)
        if call is None or (piece.call_id is not None and piece.call_id != call.call_id):
            place = len(self.sections)
            call = CallSection(place, piece.call_id or f"call_{place}", piece.name or "")
            self._calls[piece.index] = call
            self.sections.append(call)
        return call


def items_of(events: Iterable[AnswerEvent]) -> tuple[Item, ...]:
    """The items of an answer that is more than text; none if it is not."""
    deltas = [event for event in events if isinstance(event, Delta)]
    if not any(isinstance(delta, CallPiece) for delta in deltas):
        return ()
    outline = Outline()
    for delta in deltas:
        outline.feed(delta)
    return outline.items()


def _item(section: Section) -> Item:
    if isinstance(section, TextSection):
        return Said(speaker=Speaker.ASSISTANT, parts=(TextPart(section.text),))
    return FunctionCall(call_id=section.call_id, name=section.name, arguments=section.arguments)
