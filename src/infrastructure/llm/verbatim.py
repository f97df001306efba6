"""What is changed of a request that is passed on, and what is read of its reply: as little as possible."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from llm_backend.application.metering import IMAGE_TOKENS
from llm_backend.application.ports.completions import VerbatimReply, VerbatimRequest
from llm_backend.domain.conversations import LONGEST_MODEL, TokenUsage
from llm_backend.domain.errors import UpstreamProtocolError, UpstreamRejectedRequest
from llm_backend.domain.window import estimated_tokens
from llm_backend.infrastructure.llm.chunks import ChunkUsage
from llm_backend.infrastructure.llm.failures import failure_of_error_object

# Some gateways let a body say where it shall go and with which key; a server behind this one may be such a gateway.
REDIRECTIONS = frozenset({"api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "extra_headers"})

# As data: URLs, and as the bare base64 in `input_audio.data` and `file.file_data`. Both begin with letters that are
# found fast, as prompts may be of many megabytes.
_ENCLOSED = (
    re.compile(rb'"data:[^",]{0,200};base64,[A-Za-z0-9+/=\\]*"'),
    re.compile(rb'data"\s*:\s*"[A-Za-z0-9+/=\\]{1024,}"'),
)

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Reply(msgspec.Struct):
    """The little that is of interest."""

    choices: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None
    usage: ChunkUsage | None = None
    error: Any = None


class ModelIn(msgspec.Struct):
    """One model as a server lists it."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_MODEL)]
    created: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    owned_by: str | None = None


class _ModelsIn(msgspec.Struct):
    data: list[msgspec.Raw]


_decode_reply = msgspec.json.Decoder(_Reply).decode


def outgoing(request: VerbatimRequest, model: str, *, with_usage: bool = False) -> bytes:
    """The request as the server gets it: every other field as it was written, to the byte.

    `with_usage` asks for the tokens of a stream, whether or not its reader has. Raises `UpstreamRejectedRequest` when
    the request is nested too deep.
    """
    try:
        return _encode(_outgoing_fields(request, model, with_usage=with_usage))
    except (ValueError, RecursionError) as error:  # whoever took it was not as deep in the stack as we are
        raise UpstreamRejectedRequest from error


def _outgoing_fields(request: VerbatimRequest, model: str, *, with_usage: bool) -> dict[str, Any]:
    fields: dict[str, msgspec.Raw | Any] = {
        name: value for name, value in _decode_fields(request.content).items() if name not in REDIRECTIONS
    }
    fields["model"] = model
    if request.instructions is not None:
        said = msgspec.json.decode(fields["messages"], type=list[msgspec.Raw])
        fields["messages"] = [{"role": "system", "content": request.instructions}, *said]
    if with_usage:
        fields["stream_options"] = {**_options(fields), "include_usage": True}
    return fields


def _options(fields: Mapping[str, Any]) -> Mapping[str, msgspec.Raw]:
    options = fields.get("stream_options")
    return {} if options is None else msgspec.json.decode(options, type=dict[str, msgspec.Raw] | None) or {}


def whole_reply(content: bytes, request: VerbatimRequest, model: str) -> VerbatimReply:
    """A reply that was not streamed. Raises an `UpstreamFailed` when it is none."""
    try:
        reply = _decode_reply(content)
    except (ValueError, RecursionError) as error:
        raise UpstreamProtocolError from error
    if reply.error:
        raise failure_of_error_object(reply.error)
    if reply.choices is None and reply.data is None:
        raise UpstreamProtocolError
    usage = reply.usage.counted() if reply.usage else None
    if usage is not None:
        return VerbatimReply(model=model, usage=usage, content=content)
    written = content if reply.choices else b""
    return VerbatimReply(model=model, usage=estimate(request, written), is_estimated=True, content=content)


def listed_models(content: bytes) -> list[ModelIn]:
    """Those that can be understood. Raises `UpstreamProtocolError` when it is no list."""
    try:
        entries = msgspec.json.decode(content, type=_ModelsIn).data
    except (ValueError, RecursionError) as error:
        raise UpstreamProtocolError from error
    models: list[ModelIn] = []
    for entry in entries:
        with suppress(ValueError, RecursionError):
            models.append(msgspec.json.decode(entry, type=ModelIn))
    return models


def as_events(content: bytes) -> bytes:
    """A reply in one piece, as a stream of one chunk."""
    try:
        reply = msgspec.json.decode(content)
    except (ValueError, RecursionError) as error:
        raise UpstreamProtocolError from error
    if not isinstance(reply, dict) or not isinstance(reply.get("choices", []), list):
        raise UpstreamProtocolError
    choices = [
        {**{key: value for key, value in choice.items() if key != "message"}, "delta": choice.get("message")}
        for choice in reply.get("choices", [])
        if isinstance(choice, dict)
    ]
    chunk = {**reply, "object": "chat.completion.chunk", "choices": choices}
    return b"data: " + _encode(chunk) + b"\n\ndata: [DONE]\n\n"


def estimate(request: VerbatimRequest, written: bytes) -> TokenUsage:
    """A cautious guess: what stands around the words is counted with them. What is enclosed in base64 counts by the
    piece, as nobody here can tell what a model makes of it; its characters are no words."""
    content, enclosed = request.content, 0
    for kind in _ENCLOSED:
        content, found = kind.subn(b"", content)
        enclosed += found
    asked = estimated_tokens(content.decode(errors="replace") + (request.instructions or ""))
    answered = estimated_tokens(written.decode(errors="replace"))
    return TokenUsage(prompt=asked + enclosed * IMAGE_TOKENS, completion=answered)
