"""The two framings of an answer's events.

All events of a batch become one piece of bytes, which is one write to the socket. Only the text of a delta is really
encoded; what stands around it is constant.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, assert_never

import msgspec

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import AnswerEvent, CallPiece, Cited, Delta, Done, Failed, FullText
from llm_backend.domain.ids import AnswerId
from llm_backend.interface.http.citations import CitationOut, citation_out
from llm_backend.interface.http.options import FramingChoice

FINISHED = "Stream finished"
RETRY = b"retry: 1000\n"  # milliseconds after which a strict client comes back
EVENT_STREAM = "text/event-stream"

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_DELTA, _END = b'{"event":"message","data":', b"}\n\n"


class FailureOut(msgspec.Struct):
    """Why an answer ended early."""

    code: str
    message: str


EventData: TypeAlias = str | FailureOut | list[CitationOut]


class Framing(Protocol):
    """Turns events into bytes."""

    @property
    def keeps_alive(self) -> bool:
        """Whether comments may be written into a silent stream."""

    def encode(self, batch: Sequence[NumberedEvent]) -> bytes:
        """All events of a batch; no bytes if none of them is for this framing."""

    def encode_failure(self, failure: Failed) -> bytes:
        """A failure that is no event of the answer, so that nobody resumes after it."""


class PlainFraming:
    """One JSON object and a blank line per event, and nothing else: what the old clients read."""

    keeps_alive = False

    def encode(self, batch: Sequence[NumberedEvent]) -> bytes:
        if len(batch) == 1:
            event = batch[0][1]
            return b"%b%b%b" % (_DELTA, _encode(event.text), _END) if type(event) is Delta else _plain(event)
        texts = [event.text for _, event in batch if type(event) is Delta]
        if not texts or len(texts) < len(batch):
            return b"".join([_plain(event) for _, event in batch])
        # JSON contains no line breaks, so that one replacement frames them all: a third of the cost of one by one
        return b"%b%b%b" % (_DELTA, _encode_lines(texts)[:-1].replace(b"\n", _END + _DELTA), _END)

    def encode_failure(self, failure: Failed) -> bytes:
        return _plain(failure)


class StrictFraming:
    """Server-sent events by the book, with ids to resume from."""

    keeps_alive = True

    def __init__(self, answer: AnswerId) -> None:
        self._id = b"id: %d." % answer
        self._retry = RETRY  # inside the first block: as a block of its own it breaks the OpenAI Python SDK

    def encode(self, batch: Sequence[NumberedEvent]) -> bytes:
        first, self._retry = self._retry, b""
        told = [numbered for numbered in batch if type(numbered[1]) is not CallPiece]  # only responses have functions
        blocks = [b"%b%d\n%b" % (self._id, number, _strict(event)) for number, event in told] or [b""]
        blocks[0] = first + blocks[0]
        return b"".join(blocks)

    def encode_failure(self, failure: Failed) -> bytes:
        return _strict(failure)


PING = b": ping\n"  # no blank line: after an `id:` that would end a block without data, on which SDKs stumble


def framing_for(choice: FramingChoice, accept: str, answer: AnswerId) -> Framing:
    """Strict for those who name the media type, plain for those who take anything, unless configured otherwise."""
    if choice is FramingChoice.SSE or (choice is FramingChoice.AUTO and _names_event_stream(accept)):
        return StrictFraming(answer)
    return PlainFraming()


def _names_event_stream(accept: str) -> bool:
    for media_range in accept.lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        if name == EVENT_STREAM:
            return not any(part.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for part in parameters)
    return False


def _plain(event: AnswerEvent) -> bytes:
    if type(event) is Delta:
        return b"%b%b%b" % (_DELTA, _encode(event.text), _END)
    if type(event) is Cited or type(event) is CallPiece:
        return b""
    return b"%b\n\n" % _object(event)


def _strict(event: AnswerEvent) -> bytes:
    if type(event) is Delta:
        return b'event: message\ndata: {"event":"message","data":%b}\n\n' % _encode(event.text)
    return b"event: %b\ndata: %b\n\n" % (_named(event)[0].encode(), _object(event))


def _object(event: AnswerEvent) -> bytes:
    name, data = _named(event)
    if type(event) is Cited:
        return b'{"event":"%b","data":%b,"relevance":%b}' % (name.encode(), _encode(data), _encode(event.relevance))
    return b'{"event":"%b","data":%b}' % (name.encode(), _encode(data))


def _named(event: AnswerEvent) -> tuple[str, EventData]:
    """No event is named `error`: an EventSource would mix it up with a broken connection."""
    match event:
        case Delta(text):
            return "message", text
        case Cited(citations):
            return "citations", [citation_out(citation) for citation in citations]
        case Done():
            return "done", FINISHED
        case FullText(text):
            return "full_response", text
        case Failed(code, message):
            return "stream_error", FailureOut(code, message)
        case _:
            assert_never(event)
