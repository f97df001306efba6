"""What OpenAI-compatible servers say while they answer: chunks, from the bytes as they are read."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.json import Decoder

from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import UpstreamFailed, UpstreamProtocolError
from llm_backend.infrastructure.llm.failures import failure_of_error_object
from llm_backend.infrastructure.llm.sse import LONGEST_LINE, SseParser
from llm_backend.infrastructure.llm.texts import text_of, texts_of

LONGEST_FINISH_REASON = 64
# More than a hundred times the longest window there is, and less than what the dearest price makes of it needs 64 bits:
# what a server claims beyond that is no count.
_MOST_TOKENS = 2**31 - 1
_MOST_CALLS = 1024

Count = Annotated[int, Meta(ge=0, le=_MOST_TOKENS)]
Reason = Annotated[str, Meta(max_length=LONGEST_FINISH_REASON)]


class ChunkFunction(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class ChunkCall(Struct, gc=False):
    index: Annotated[int, Meta(ge=0, le=_MOST_CALLS)] | None = None
    id: str | None = None
    function: ChunkFunction | None = None


class ChunkDelta(Struct, gc=False):
    content: str | None = None
    tool_calls: list[ChunkCall] | None = None


class ChunkChoice(Struct, gc=False):
    delta: ChunkDelta | None = None
    message: ChunkDelta | None = None
    finish_reason: Reason | None = None


class ChunkUsage(Struct, gc=False):
    """The details are whatever they are: what nobody understands there must not cost the counts themselves."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    prompt_cache_hit_tokens: Any = None  # as DeepSeek calls it

    def counted(self) -> TokenUsage | None:
        """None when the server has counted nothing."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        cached = _detail(self.prompt_tokens_details, "cached_tokens") or _count_of(self.prompt_cache_hit_tokens)
        reasoning = _detail(self.completion_tokens_details, "reasoning_tokens")
        return TokenUsage(  # a part is no more than the whole, whatever a server says
            prompt=prompt, completion=completion, cached=min(cached, prompt), reasoning=min(reasoning, completion)
        )


class Chunk(Struct, gc=False):
    """One event of a stream, or a whole reply that was not streamed: only what is needed of it.

    `choices` says nothing new when it is empty; reasoning and refusals are left out.
    """

    choices: list[ChunkChoice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None
    object: Any = None  # some servers say `"object": "error"` and put the error's fields beside it

    @property
    def text(self) -> str:
        if not self.choices:
            return ""
        said = self.choices[0].delta or self.choices[0].message
        return (said.content or "") if said else ""

    @property
    def calls(self) -> list[ChunkCall]:
        if not self.choices:
            return []
        said = self.choices[0].delta or self.choices[0].message
        return (said.tool_calls or []) if said else []

    @property
    def finish_reason(self) -> str | None:
        return self.choices[0].finish_reason if self.choices else None

    def failure(self) -> UpstreamFailed | None:
        """The error that the server put into its stream, if this is one."""
        if self.error:
            return failure_of_error_object(self.error)
        return failure_of_error_object(None) if self.object == "error" else None


Found: TypeAlias = list[str] | Chunk
"""What was read: the texts of a run of chunks that hold nothing else, some of them empty; or any one chunk."""

_decoder = Decoder(Chunk)

_FIRST = b"data: {"
_BETWEEN = b"\n\ndata: "
_LAST = b"}\n\n"
_DONE = b"data: [DONE]\n\n"
_LONGEST_TAIL = 8 * 1024  # a longer unfinished event is left to the parser, whose buffer grows without being copied


class ChunkDecoder:
    """Reads chunks out of a stream that is chopped anywhere; how it is chopped makes no difference.

    Nearly all reads hold whole events of one shape, and are decoded in one call (under a microsecond an event).
    Whatever surprises goes through the tolerant parser.
    """

    def __init__(self, *, longest_line: int = LONGEST_LINE) -> None:
        self.done = False
        self._longest_line = longest_line
        self._sse = SseParser(longest_line=longest_line)
        self._tail = b""  # the unfinished event after a read of whole ones
        self._regular = True  # so far everything has had the usual shape
        self._half = ""  # the first half of a surrogate pair whose second half is in the next chunk

    def feed(self, data: bytes) -> Iterable[Found]:
        """What `data` completes; take it all. Bytes after `[DONE]` are ignored.

        Raises `UpstreamProtocolError`, after the chunks before a fault.
        """
        if self.done:
            return ()
        if self._tail:
            data = self._tail + data
            self._tail = b""
        elif self._regular and len(data) <= self._longest_line and (event := _one_event(data)) is not None:
            self._sse.skip(len(data))
            return (event,)
        if self._regular or (self._sse.between_events and not self._half):
            found = self._whole_events(data)
            if found is not None:
                return found
        self._regular = False
        return self._tolerantly(self._sse.feed(data))

    def finish(self) -> Iterator[Chunk]:
        """What is complete at the end of the stream. An event that was cut off is no error here."""
        if not self.done:
            yield from self._tolerantly(self._sse.feed(self._tail))
        if not self.done:
            with suppress(UpstreamProtocolError):
                yield from self._tolerantly(self._sse.finish())

    def _whole_events(self, data: bytes) -> list[Found] | None:
        """What is in `data` up to its last blank line when it has the usual shape; the rest is kept for later."""
        if not data.startswith(_FIRST) or b"\r" in data:
            return None
        end = len(data) if data.endswith(_LAST) else data.rfind(b"\n\n") + 2
        if end == 1:
            if len(data) > _LONGEST_TAIL:
                return None
            self._tail = data
            return []
        if end > self._longest_line:
            return None
        block = data if end == len(data) else data[:end]
        is_last = block.endswith(_DONE)
        found = _ending(block.removesuffix(_DONE)) if is_last else _usual(block)
        if found is not None:
            self.done = is_last
            self._tail = data[end:]
            self._sse.skip(end)
        return found

    def _tolerantly(self, events: Iterable[bytes]) -> Iterator[Chunk]:
        for event in events:
            if event.strip() == b"[DONE]":
                self.done = True
                return
            chunk = decode_chunk(event)
            self._mend(chunk)
            yield chunk

    def _mend(self, chunk: Chunk) -> None:
        """Make the text storable: pairs that two chunks share are joined, lone halves and NULs replaced."""
        text = chunk.text
        if not text or not chunk.choices:
            return
        text = self._half + text
        self._half = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
        chunk.choices[0].delta = ChunkDelta(storable(text[: len(text) - len(self._half)]), chunk.calls or None)


def decode_chunk(data: bytes) -> Chunk:
    """One chunk, whatever else is in it. Raises `UpstreamProtocolError` unless it is a JSON object."""
    try:
        return _decoder.decode(data)
    except (ValueError, RecursionError):
        return _leniently(data)


def decode_reply(data: bytes) -> Chunk:
    """A reply that was not streamed. Raises `UpstreamProtocolError` when it is none."""
    reply = decode_chunk(data)
    if reply.failure() is None and not reply.choices:
        raise UpstreamProtocolError
    if reply.choices:
        reply.choices[0].delta = ChunkDelta(storable(reply.text), reply.calls or None)
    return reply


def storable(text: str) -> str:
    """`text` with every half surrogate pair and every NUL replaced, which no database takes."""
    return text.replace("\x00", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _detail(details: object, name: str) -> int:
    return _count_of(details.get(name)) if isinstance(details, dict) else 0


def _count_of(value: object) -> int:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0


def _one_event(data: bytes) -> Found | None:
    """What is in a read whose only line breaks are the two at its end, as it comes from a model that takes its time;
    None when `data` is not quite that."""
    if data.find(b"\n") != len(data) - 2 or not (data.startswith(_FIRST) and data.endswith(_LAST)):
        return None
    if b"\\" in data or b"\r" in data:
        return None
    event = data[len(_FIRST) - 1 : -2]
    if (text := text_of(event)) is not None:
        return [text]
    try:
        return _decoder.decode(event)
    except (ValueError, RecursionError):
        return None


def _ending(block: bytes) -> list[Found] | None:
    """As `_usual`, for the end of an answer: its last two events hold more than text, and are read apart."""
    joint = block.rfind(_BETWEEN, 0, max(block.rfind(_BETWEEN), 0))
    if joint < 0:
        return _usual(block)
    before, last = _usual(block[: joint + 2]), _usual(block[joint + 2 :])
    return None if before is None or last is None else before + last


def _usual(block: bytes) -> list[Found] | None:
    """What is in whole `data: {…}` events, or None when `block` is anything else, however slightly."""
    if not block.endswith(_LAST):
        return None
    if b"\\" in block and b"\\u0000" in block:  # one byte is found eight times as fast as six
        return None
    lines = block[len(_FIRST) - 1 : -2].replace(_BETWEEN, b"\n")
    joints = (len(block) - len(_FIRST) - 1 - len(lines)) // (len(_BETWEEN) - 1)
    texts = texts_of(lines)
    if texts is not None:
        return [texts] if len(texts) == joints + 1 else None
    try:
        chunks = _decoder.decode_lines(lines)
    except (ValueError, RecursionError):
        return None
    return [*chunks] if len(chunks) == joints + 1 else None


def _leniently(data: bytes) -> Chunk:
    """What msgspec refuses and some server sends: half surrogate pairs, broken UTF-8, contents of other types."""
    try:
        raw = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise UpstreamProtocolError from error
    if not isinstance(raw, dict):
        raise UpstreamProtocolError
    return Chunk(
        choices=_lenient_choices(raw.get("choices")),
        usage=_lenient_usage(raw.get("usage")),
        error=raw.get("error"),
        object=raw.get("object"),
    )


def _lenient_choices(raw: object) -> list[ChunkChoice]:
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], dict):
        return []
    said = raw[0].get("delta") or raw[0].get("message")
    content = said.get("content") if isinstance(said, dict) else None
    reason = raw[0].get("finish_reason")
    return [
        ChunkChoice(
            delta=ChunkDelta(content if isinstance(content, str) else None, _lenient_calls(said)),
            finish_reason=reason[:LONGEST_FINISH_REASON] if isinstance(reason, str) else None,
        )
    ]


def _lenient_calls(said: object) -> list[ChunkCall] | None:
    calls = said.get("tool_calls") if isinstance(said, dict) else None
    if not isinstance(calls, list):
        return None
    with suppress(ValidationError):
        return convert(calls, list[ChunkCall])
    return None


def _lenient_usage(raw: object) -> ChunkUsage | None:
    if not isinstance(raw, dict):
        return None
    counts = [raw.get("prompt_tokens"), raw.get("completion_tokens")]
    if not all(isinstance(count, int) and 0 <= count <= _MOST_TOKENS for count in counts):
        return None
    details = ("prompt_tokens_details", "completion_tokens_details", "prompt_cache_hit_tokens")
    return ChunkUsage(*counts, *map(raw.get, details))
