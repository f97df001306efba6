"""Turns of a prompt as chat completions have them."""

from typing import Any

from llm_backend.application.ports.chat_model import ChatTurn
from llm_backend.domain.items import FunctionCall, Shown, TextPart


def message_of(turn: ChatTurn) -> dict[str, Any]:
    if turn.result_of is not None:
        return {"role": "tool", "tool_call_id": turn.result_of, "content": turn.text}
    if turn.calls:
        return {"role": turn.role, "content": turn.text or None, "tool_calls": list(map(_tool_call, turn.calls))}
    return {"role": turn.role, "content": list(map(_part, turn.parts)) or turn.text}


def _tool_call(call: FunctionCall) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _part(part: Shown) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    detail = {"detail": part.detail} if part.detail else {}
    return {"type": "image_url", "image_url": {"url": part.url, **detail}}
