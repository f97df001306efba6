"""What an answer used: one figure for each model that wrote some of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llm_backend.application.ports.chat_model import ChatRequest
from llm_backend.domain.conversations import Seam, TokenUsage
from llm_backend.domain.window import MESSAGE_OVERHEAD, estimated_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one model used; `is_estimated` where its server did not say, or was not let finish."""

    model: str
    tokens: TokenUsage
    is_estimated: bool


def shares_of(
    request: ChatRequest, text: str, seams: Sequence[Seam] = (), counted: TokenUsage | None = None
) -> list[Share]:
    """Who used what for `text`, which was begun for `request` and changed hands at `seams`.

    `counted` is what the server of the last one said. The others were cut off before theirs could, and whoever has not
    written anything is left out. Each has read the prompt, and what was there before.
    """
    writers = [request.model, *(seam.model for seam in seams)]
    bounds = [0, *(seam.at for seam in seams), len(text)]
    parts = list(zip(writers, pairwise(bounds), strict=True))
    uncounted = parts if counted is None else parts[:-1]
    shares = [_estimated(request, model, text, start, end) for model, (start, end) in uncounted if end > start]
    return shares if counted is None else [*shares, Share(model=writers[-1], tokens=counted, is_estimated=False)]


def _estimated(request: ChatRequest, model: str, text: str, start: int, end: int) -> Share:
    asked = sum(estimated_tokens(turn.text) + MESSAGE_OVERHEAD for turn in request.turns)
    tokens = TokenUsage(prompt=asked + estimated_tokens(text[:start]), completion=estimated_tokens(text[start:end]))
    return Share(model=model, tokens=tokens, is_estimated=True)


def total(shares: Sequence[Share]) -> TokenUsage:
    return TokenUsage(
        prompt=sum(share.tokens.prompt for share in shares), completion=sum(share.tokens.completion for share in shares)
    )
