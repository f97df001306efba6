"""Items of messages, and what responses were asked for, as JSON in rows. Their names stay when the domain's change."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from llm_backend.domain.ids import AnswerId, FileId
from llm_backend.domain.items import (
    Content,
    FilePart,
    FunctionCall,
    FunctionResult,
    ImagePart,
    Item,
    Removed,
    Said,
    Speaker,
    Summary,
    TextPart,
)
from llm_backend.domain.responses import ResponseRequest


class _Text(msgspec.Struct, tag="text", tag_field="is", frozen=True):
    text: str


class _Image(msgspec.Struct, tag="image", tag_field="is", frozen=True, omit_defaults=True):
    url: str
    detail: str | None = None


class _File(msgspec.Struct, tag="file", tag_field="is", frozen=True, omit_defaults=True):
    name: str
    file: str | None = None
    url: str | None = None
    text: str | None = None
    mark: str = ""


_Part = _Text | _Image | _File


class _Said(msgspec.Struct, tag="said", tag_field="is", frozen=True):
    speaker: str
    parts: list[_Part]


class _Call(msgspec.Struct, tag="call", tag_field="is", frozen=True):
    call_id: str
    name: str
    arguments: str


class _Result(msgspec.Struct, tag="result", tag_field="is", frozen=True, omit_defaults=True):
    call_id: str
    output: str
    parts: list[_Part] = []


class _Summary(msgspec.Struct, tag="summary", tag_field="is", frozen=True):
    text: str


class _Removed(msgspec.Struct, tag="removed", tag_field="is", frozen=True):
    pass


_Stored = _Said | _Call | _Result | _Summary | _Removed


class _Request(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    instructions: str | None = None
    background: bool = False
    searched: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    shown: dict[str, Any] = {}


_decode_items = msgspec.json.Decoder(list[_Stored]).decode
_decode_request = msgspec.json.Decoder(_Request).decode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_encode = msgspec.json.Encoder().encode


def items_value(items: Sequence[Item]) -> str:
    return _encode(list(map(_stored, items))).decode()


def items_from(value: str) -> tuple[Item, ...]:
    return tuple(map(_item, _decode_items(value)))


def request_value(request: ResponseRequest) -> str:
    """Without the previous response, which has a column of its own."""
    stored = _Request(
        model=request.model,
        instructions=request.instructions,
        background=request.background,
        searched=request.searched,
        options=dict(request.options),
        shown=dict(request.shown),
    )
    return _encode(stored).decode()


def request_from(value: str, previous: int | None) -> ResponseRequest:
    stored = _decode_request(value)
    return ResponseRequest(
        model=stored.model,
        instructions=stored.instructions,
        previous=None if previous is None else AnswerId(previous),
        background=stored.background,
        searched=stored.searched,
        options=stored.options,
        shown=stored.shown,
    )


def metadata_value(metadata: Mapping[str, str]) -> str:
    return _encode(dict(metadata)).decode()


def metadata_from(value: str) -> dict[str, str]:
    return _decode_metadata(value)


def _stored(item: Item) -> _Stored:
    match item:
        case Said():
            return _Said(item.speaker.value, list(map(_stored_part, item.parts)))
        case FunctionCall():
            return _Call(item.call_id, item.name, item.arguments)
        case FunctionResult():
            return _Result(item.call_id, item.output, list(map(_stored_part, item.parts)))
        case Summary():
            return _Summary(item.text)
        case Removed():
            return _Removed()


def _stored_part(part: Content) -> _Part:
    match part:
        case TextPart():
            return _Text(part.text)
        case ImagePart():
            return _Image(part.url, part.detail)
        case FilePart():
            return _File(part.name, part.file, part.url, part.text, part.mark)


def _item(stored: _Stored) -> Item:
    match stored:
        case _Said():
            return Said(speaker=Speaker(stored.speaker), parts=tuple(map(_part, stored.parts)))
        case _Call():
            return FunctionCall(call_id=stored.call_id, name=stored.name, arguments=stored.arguments)
        case _Result():
            parts = tuple(map(_part, stored.parts))
            return FunctionResult(call_id=stored.call_id, output=stored.output, parts=parts)
        case _Summary():
            return Summary(stored.text)
        case _Removed():
            return Removed()


def _part(stored: _Part) -> Content:
    match stored:
        case _Text():
            return TextPart(stored.text)
        case _Image():
            return ImagePart(stored.url, stored.detail)
        case _File():
            file = FileId(stored.file) if stored.file else None
            return FilePart(name=stored.name, file=file, url=stored.url, text=stored.text, mark=stored.mark)
