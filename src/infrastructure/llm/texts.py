"""The texts of chunks of which nothing else needs to be known, which is true of nearly all.

That nothing else is in them is found out by the JSON decoder, by the types below: to look at each chunk afterwards
costs four times as much.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.json import Decoder


class _Delta(Struct, gc=False):
    content: str
    tool_calls: None = None


class _Choice(Struct, gc=False):
    delta: _Delta
    finish_reason: None = None


class _Chunk(Struct, gc=False):
    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: None = None
    error: None = None
    object: Literal["chat.completion.chunk", "chat.completion"] | None = None


_decoder = Decoder(_Chunk)


def text_of(chunk: bytes) -> str | None:
    """The text of a chunk that holds nothing else; None when `chunk` is anything else."""
    try:
        return _decoder.decode(chunk).choices[0].delta.content
    except (ValueError, RecursionError):
        return None


def texts_of(chunks: bytes) -> list[str] | None:
    """The same of several, one on each line. None when a single one of them holds anything else."""
    try:
        return [chunk.choices[0].delta.content for chunk in _decoder.decode_lines(chunks)]
    except (ValueError, RecursionError):
        return None
