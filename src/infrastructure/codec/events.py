"""The events of an answer as bytes: a MessagePack array, in which a bare text is a delta.

Deltas are nearly all there is, so they carry no tag; everything else is a tagged array.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from llm_backend.domain.answers import AnswerEvent, CallPiece, Cited, Continued, Delta, Done, Failed, FullText
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.knowledge import Relevance
from llm_backend.infrastructure.codec.stored import (
    StoredCitation,
    StoredSeam,
    citation_from,
    seam_from,
    stored_citation,
    stored_seam,
)


class _Continued(msgspec.Struct, tag="continued", array_like=True):
    text: str
    seam: StoredSeam


class _CallPiece(msgspec.Struct, tag="call", array_like=True):
    index: int
    arguments: str
    call_id: str | None = None
    name: str | None = None


class _Cited(msgspec.Struct, tag="cited", array_like=True):
    citations: list[StoredCitation]
    relevance: str = Relevance.HIGH.value


class _Done(msgspec.Struct, tag="done", array_like=True):
    prompt: int | None = None
    completion: int | None = None
    finish_reason: str | None = None
    at: datetime | None = None
    cached: int = 0
    reasoning: int = 0


class _FullText(msgspec.Struct, tag="full", array_like=True):
    text: str


class _Failed(msgspec.Struct, tag="failed", array_like=True):
    code: str
    message: str


_Stored = str | _Continued | _CallPiece | _Cited | _Done | _FullText | _Failed

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Stored]).decode


def encode_events(events: Sequence[AnswerEvent]) -> bytes:
    return _encode([event.text if type(event) is Delta else _stored(event) for event in events])


def decode_events(payload: bytes) -> list[AnswerEvent]:
    return [Delta(stored) if type(stored) is str else _event(stored) for stored in _decode(payload)]


def _stored(event: AnswerEvent) -> _Stored:
    match event:
        case Continued():
            return _Continued(event.text, stored_seam(event.seam))
        case CallPiece():
            return _CallPiece(event.index, event.arguments, event.call_id, event.name)
        case Delta():
            return event.text
        case Cited():
            return _Cited([stored_citation(one) for one in event.citations], event.relevance.value)
        case Done():
            return _stored_done(event)
        case FullText():
            return _FullText(event.text)
        case Failed():
            return _Failed(event.code, event.message)


def _stored_done(event: Done) -> _Done:
    usage = event.usage
    if usage is None:
        return _Done(None, None, event.finish_reason, event.at)
    return _Done(usage.prompt, usage.completion, event.finish_reason, event.at, usage.cached, usage.reasoning)


def _event(stored: _Stored) -> AnswerEvent:
    match stored:
        case str():
            return Delta(stored)
        case _Continued():
            return Continued(stored.text, seam_from(stored.seam))
        case _Cited():
            return Cited(tuple(map(citation_from, stored.citations)), Relevance(stored.relevance))
        case _CallPiece():
            return CallPiece("", stored.index, stored.arguments, stored.call_id, stored.name)
        case _Done():
            return Done(_usage(stored), stored.finish_reason, stored.at and stored.at.astimezone(UTC))
        case _FullText():
            return FullText(stored.text)
        case _Failed():
            return Failed(stored.code, stored.message)


def _usage(stored: _Done) -> TokenUsage | None:
    if stored.prompt is None:
        return None
    return TokenUsage(
        prompt=stored.prompt, completion=stored.completion or 0, cached=stored.cached, reasoning=stored.reasoning
    )
