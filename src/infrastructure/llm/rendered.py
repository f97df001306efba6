"""Any `ChatModel` as a verbatim server: for models that speak no HTTP, such as the built-in demo."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn, Completion
from llm_backend.application.ports.clock import Clock, IdSource
from llm_backend.application.ports.completions import Pour, Streamed, VerbatimReply, VerbatimRequest
from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import Role, TokenUsage
from llm_backend.domain.errors import UnknownModel, UpstreamRejectedRequest
from llm_backend.domain.window import estimated_tokens
from llm_backend.infrastructure.llm.relay import DONE
from llm_backend.infrastructure.llm.verbatim import estimate

_encode = msgspec.json.Encoder().encode


class _Part(msgspec.Struct):
    text: str | None = None


class _Said(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _Prompt(msgspec.Struct):
    messages: list[_Said]


_decode = msgspec.json.Decoder(_Prompt).decode


@dataclass(frozen=True, slots=True)
class RenderedServer:
    """Understands texts alone: pictures, tools and settings in a request go unheeded."""

    model: ChatModel
    ids: IdSource
    now: Clock

    def check(self) -> None:
        """Which models there are is up to the route."""

    async def complete(self, request: VerbatimRequest, model: str) -> VerbatimReply:
        pieces: list[Delta] = []
        completion = await self.model.answer(_chat_request(request, model), pieces.extend)
        text = "".join(piece.text for piece in pieces)
        usage, is_estimated = _usage(completion, request, text)
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(completion)}
        reply = {**self._head("chat.completion", model), "choices": [choice], "usage": _usage_out(usage)}
        return VerbatimReply(model=model, usage=usage, is_estimated=is_estimated, content=_encode(reply))

    async def stream(self, request: VerbatimRequest, model: str, pour: Pour, streamed: Streamed) -> None:
        streamed.model = model
        head = self._head("chat.completion.chunk", model)
        said: list[str] = []

        def emit(deltas: Sequence[Delta]) -> None:
            first = () if said else ({"role": "assistant", "content": ""},)
            said.extend(delta.text for delta in deltas)
            pour(_events(head, [*first, *({"content": delta.text} for delta in deltas)]))

        try:
            completion = await self.model.answer(_chat_request(request, model), emit)
        except BaseException:
            if said:
                streamed.usage, streamed.is_estimated = _usage(Completion(), request, "".join(said))
            raise
        streamed.usage, streamed.is_estimated = _usage(completion, request, "".join(said))
        pour(_events(head, [{}], reason=_reason(completion)) + self._end(head, request, streamed.usage))

    async def embed(self, request: VerbatimRequest, model: str) -> VerbatimReply:  # noqa: ARG002
        """It only answers."""
        raise UnknownModel

    def _head(self, kind: str, model: str) -> dict[str, Any]:
        identifier = f"chatcmpl-{self.ids.uuid().replace('-', '')}"
        return {"id": identifier, "object": kind, "created": int(self.now().timestamp()), "model": model}

    def _end(self, head: dict[str, Any], request: VerbatimRequest, usage: TokenUsage) -> bytes:
        if not request.shows_usage:
            return DONE
        return _event({**head, "choices": [], "usage": _usage_out(usage)}) + DONE


def _chat_request(request: VerbatimRequest, model: str) -> ChatRequest:
    try:
        said = _decode(request.content).messages
    except (ValueError, RecursionError) as error:
        raise UpstreamRejectedRequest from error
    instructions = [] if request.instructions is None else [ChatTurn(role=Role.SYSTEM, text=request.instructions)]
    return ChatRequest(model=model, turns=[*instructions, *map(_turn, said)])


def _turn(said: _Said) -> ChatTurn:
    roles = {"assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.SYSTEM}
    parts = said.content if isinstance(said.content, list) else [_Part(said.content)]
    return ChatTurn(role=roles.get(said.role, Role.USER), text="\n".join(part.text for part in parts if part.text))


def _events(head: dict[str, Any], deltas: Sequence[dict[str, str]], *, reason: str | None = None) -> bytes:
    return b"".join(map(_event, _chunks(head, deltas, reason)))


def _chunks(head: dict[str, Any], deltas: Sequence[dict[str, str]], reason: str | None) -> Iterator[dict[str, Any]]:
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield {**head, "choices": [choice], "usage": None}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"


def _reason(completion: Completion) -> str:
    return completion.finish_reason or "stop"


def _usage(completion: Completion, request: VerbatimRequest, text: str) -> tuple[TokenUsage, bool]:
    if completion.usage is not None:
        return completion.usage, False
    return TokenUsage(prompt=estimate(request, b"").prompt, completion=estimated_tokens(text)), True


def _usage_out(usage: TokenUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
