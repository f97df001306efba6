"""Passing on a stream of chunks as bytes, with an eye on its end: what it cost, and whether it is one."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import AnswerTooLong, UpstreamCutOff, UpstreamFailed, UpstreamProtocolError
from llm_backend.domain.window import estimated_tokens
from llm_backend.infrastructure.llm.chunks import Chunk
from llm_backend.infrastructure.llm.sse import LONGEST_LINE

DONE = b"data: [DONE]\n\n"
LOOKED_BACK = 4  # pieces in which the reason why an answer ended is looked for
SAMPLE = 256 * 1024  # bytes that are kept, to estimate what nobody counted

_PLAIN_BLANK_LINE = b"\n\n"
_BLANK_LINES = (_PLAIN_BLANK_LINE, b"\r\n\r\n", b"\r\r")
_SOUND = (b"}\n\n", DONE)
_MARKS = (b'"usage":{', b'"usage": {', b'"error"')
_NEW_LINE = rb"(?>\r\n|\r|\n)"
_LAST_LINE = rb"data: ?\[DONE\][ \t]*"
_LAST_EVENT = re.compile(rb"(?:\A|[\r\n])%b%b(?:[^\r\n]+%b)*%b" % (_LAST_LINE, _NEW_LINE, _NEW_LINE, _NEW_LINE))
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_is_last_line = re.compile(_LAST_LINE).fullmatch
_decode = msgspec.json.Decoder(Chunk).decode


@dataclass(slots=True, kw_only=True)
class EventRelay:
    """Takes what a server sends, chopped anywhere, and gives back whole events, as they were.

    Nothing is decoded but what may be an error, or the figures at the end. These are left out for a reader who has not
    asked for them, unless they are part of a piece of the answer. `longest` limits the bytes of all events.
    """

    shows_usage: bool
    longest: int
    longest_line: int = LONGEST_LINE
    began: bool = field(default=False, init=False)
    done: bool = field(default=False, init=False)
    """Whether the server has said that this was all, and nothing went wrong before."""
    failure: UpstreamFailed | None = field(default=None, init=False)
    """What went wrong behind the bytes that were given back last."""
    usage: TokenUsage | None = field(default=None, init=False)
    _rest: bytes = field(default=b"", init=False)
    _size: int = field(default=0, init=False)
    _sample: list[bytes] = field(default_factory=list, init=False)
    _sampled: int = field(default=0, init=False)
    _last: deque[bytes] = field(default_factory=lambda: deque(maxlen=LOOKED_BACK), init=False)

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes, of those that the reader shall see."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if not data.endswith(b"\n\n"):
            data = self._whole(data)
        end = _last_event_of(data)
        if end is not None:  # nobody will read what comes behind it
            data, self._rest = data[: end.end()], b""
        if (mark := _mark_in(data)) >= 0:
            data = b"".join(self._seen(data, mark))
        if data and end is None and self.failure is None and not data.endswith(_SOUND):
            data = self._sound(data)
        if len(self._rest) > self.longest_line and self.failure is None:
            self._rest, self.failure = b"", UpstreamProtocolError()
        if not self.began:
            self.began = b"data:" in data
            data = data if self.began else b""  # comments, while the model is thinking
        if data:
            self._keep(data)
        self.done = end is not None and self.failure is None
        return data

    def finish(self) -> bytes:
        """The connection has ended: what is still missing. `failure` says so if that is the end of the answer."""
        self._rest = self._rest.strip()
        data = self.feed(b"\n\n") if _is_event(self._rest) else b""
        if self.done or self.failure:
            return data
        if _FINISHED.search(b"".join(self._last)):  # some servers leave it at that
            return data + DONE
        self.failure = UpstreamCutOff()
        return data

    def estimated(self, prompt: TokenUsage) -> TokenUsage:
        """The tokens of a stream whose server did not count them, or was not let finish."""
        if not self._sampled:
            return TokenUsage(prompt=prompt.prompt, completion=0)
        events = b"".join(self._sample).replace(b"\r", b"\n").split(b"\n\n")
        chunks = map(_chunk_of, events)
        text = "".join(chunk.text + _called(chunk) for chunk in chunks if chunk)
        return TokenUsage(prompt=prompt.prompt, completion=estimated_tokens(text) * self._size // self._sampled)

    def _whole(self, data: bytes) -> bytes:
        """Up to the last end of an event; what comes behind it is kept."""
        end = max((at + len(mark) for mark in _BLANK_LINES if (at := data.rfind(mark)) >= 0), default=0)
        self._rest = data[end:]
        return data[:end]

    def _sound(self, data: bytes) -> bytes:
        """What does not end like an event of ours may be one of another kind, or none at all."""
        event = data[_event_round(data.rstrip(), len(data.rstrip()) - 1, 0)[0] :]
        if b"data:" in event and not _is_event(event.strip()):
            self.failure = UpstreamProtocolError()
            return data[: len(data) - len(event)]
        return data

    def _seen(self, data: bytes, mark: int) -> Iterator[bytes]:
        """What of `data` the reader shall see, up to an error. Only events with a mark in them are looked at, of which
        the first is at `mark`."""
        start = 0
        while mark >= 0:
            begin, end = _event_round(data, mark, start)
            yield data[start:begin]
            if self._is_shown(data[begin:end]):
                yield data[begin:end]
            if self.failure:
                return
            start = end
            mark = _mark_in(data, start)
        yield data[start:]

    def _is_shown(self, event: bytes) -> bool:
        chunk = _chunk_of(event)
        if chunk is None:
            return True
        self.failure = chunk.failure()
        if chunk.usage is not None:
            self.usage = chunk.usage.counted() or self.usage
        is_mere_usage = chunk.usage is not None and not chunk.choices
        return self.failure is None and (self.shows_usage or not is_mere_usage)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self.longest:
            self.failure = AnswerTooLong()
        if self._sampled < SAMPLE:
            self._sampled += len(data)
            self._sample.append(data)
        self._last.append(data)


def _last_event_of(data: bytes) -> "re.Match[bytes] | None":
    """Looked for from where it may be: an answer that comes in one piece is long, and the pattern slow."""
    at = data.find(b"[DONE]")
    return _LAST_EVENT.search(data, max(at - len(b"\ndata: "), 0)) if at >= 0 else None


def _mark_in(data: bytes, start: int = 0) -> int:
    """Where the first one is, or -1. Several plain searches take a fraction of the time of one for all."""
    return min((at for mark in _MARKS if (at := data.find(mark, start)) >= 0), default=-1)


def _event_round(data: bytes, at: int, start: int) -> tuple[int, int]:
    """Where the event begins and ends that has something at that place, all events being whole."""
    blank_lines = _BLANK_LINES if b"\r" in data else (_PLAIN_BLANK_LINE,)
    begins = (found + len(blank) for blank in blank_lines if (found := data.rfind(blank, start, at)) >= 0)
    ends = (found + len(blank) for blank in blank_lines if (found := data.find(blank, at)) >= 0)
    return max(begins, default=start), min(ends, default=len(data))


def _chunk_of(event: bytes) -> Chunk | None:
    """What an event says; nothing, if that is no chunk."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        return _decode(b"\n".join(lines))
    except (ValueError, RecursionError):
        return None


def _called(chunk: Chunk) -> str:
    """What the model wrote to have functions called."""
    functions = [call.function for call in chunk.calls if call.function]
    return "".join((function.name or "") + (function.arguments or "") for function in functions)


def _is_event(rest: bytes) -> bool:
    """Whether it only lacks the blank line at its end."""
    return any(map(_is_last_line, rest.splitlines())) or _chunk_of(rest) is not None
