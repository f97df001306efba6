"""What an answer used: one figure for each model that wrote some of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llm_backend.application.ports.chat_model import ChatRequest, ChatTurn
from llm_backend.domain.conversations import Seam, TokenUsage
from llm_backend.domain.items import FunctionCall, ImagePart, Item
from llm_backend.domain.window import MESSAGE_OVERHEAD, estimated_tokens

IMAGE_TOKENS = 1000  # a guess: what providers count for a picture is between 85 and some thousands


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one model used; `is_estimated` where its server did not say, or was not let finish."""

    model: str
    tokens: TokenUsage
    is_estimated: bool


def shares_of(
    request: ChatRequest,
    text: str,
    seams: Sequence[Seam] = (),
    counted: TokenUsage | None = None,
    *,
    items: Sequence[Item] = (),
) -> list[Share]:
    """Who used what for `text`, which was begun for `request` and changed hands at `seams`.

    `items` are there if the answer is more than its text. With calls of functions nobody goes on, so that they are the
    last one's. `counted` is what the server of the last one said. The others were cut off before theirs could, and
    whoever has not written anything is left out. Each has read the prompt, and what was there before.
    """
    writers = [request.model, *(seam.model for seam in seams)]
    bounds = [0, *(seam.at for seam in seams), len(text)]
    calls = "".join(item.name + item.arguments for item in items if isinstance(item, FunctionCall))
    written = [text[start:end] for start, end in pairwise(bounds)]
    written[-1] += calls
    parts = list(zip(writers, bounds, written, strict=False))
    uncounted = parts if counted is None else parts[:-1]
    shares = [_estimated(request, model, text[:start], part) for model, start, part in uncounted if part]
    return shares if counted is None else [*shares, Share(model=writers[-1], tokens=counted, is_estimated=False)]


def _estimated(request: ChatRequest, model: str, before: str, written: str) -> Share:
    """Tools are read with every prompt: what stands around their words is counted with them."""
    tools = request.options.get("tools")
    asked = sum(map(cost_of, request.turns)) + (estimated_tokens(str(tools)) if tools else 0)
    tokens = TokenUsage(prompt=asked + estimated_tokens(before), completion=estimated_tokens(written))
    return Share(model=model, tokens=tokens, is_estimated=True)


def total(shares: Sequence[Share]) -> TokenUsage:
    return TokenUsage(
        prompt=sum(share.tokens.prompt for share in shares),
        completion=sum(share.tokens.completion for share in shares),
        cached=sum(share.tokens.cached for share in shares),
        reasoning=sum(share.tokens.reasoning for share in shares),
    )


def cost_of(turn: ChatTurn) -> int:
    """Tokens, cautiously guessed."""
    pictures = sum(isinstance(part, ImagePart) for part in turn.parts)
    calls = sum(estimated_tokens(call.name + call.arguments) for call in turn.calls)
    return estimated_tokens(turn.text) + IMAGE_TOKENS * pictures + calls + MESSAGE_OVERHEAD
