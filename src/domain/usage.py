"""What the use of models comes to: in tokens, and in money where prices are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.ids import ApiKeyId, ConversationId, UsageId, UserId
from llm_backend.domain.patterns import is_one_of

NANO = 1_000_000_000


class UsageKind(StrEnum):
    """What the tokens were used for."""

    ANSWER = "answer"
    """Of a conversation under `/api`."""
    CHAT = "chat"
    RESPONSE = "response"
    EMBEDDINGS = "embeddings"


class UsageGroup(StrEnum):
    """By what a report adds up."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"
    CONVERSATION = "conversation"
    KIND = "kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """What one request used. Costs are in billionths of the currency that the prices are in; None: nobody knows."""

    id: UsageId
    owner: UserId
    at: datetime
    kind: UsageKind
    model: str
    tokens: TokenUsage
    is_estimated: bool = False
    cost: int | None = None
    key: ApiKeyId | None = None
    conversation: ConversationId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum:
    """What the requests of one group used together; `group` is None for those that belong to none, such as requests
    without a key. `estimated` counts the requests whose tokens nobody counted; `cost` leaves out those without a price.
    """

    group: str | None
    requests: int
    prompt: int
    completion: int
    estimated: int
    cost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a million tokens, asked and answered, of the models that a shell pattern such as `gpt-4o*` names.

    Tokens of the prompt that the provider had read before cost `cached`, or as much as the others.
    """

    pattern: str
    prompt: float
    completion: float
    cached: float | None = None

    def of(self, tokens: TokenUsage) -> int:
        """In billionths: what a million tokens cost, times a thousand, is what one token costs."""
        cached = self.prompt if self.cached is None else self.cached
        read = (tokens.prompt - tokens.cached) * self.prompt + tokens.cached * cached
        return round((read + tokens.completion * self.completion) * (NANO // 1_000_000))


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The first pattern that fits counts."""

    prices: Sequence[Price] = ()

    def cost(self, model: str, tokens: TokenUsage) -> int | None:
        """In billionths; None where no price is known."""
        fitting = (price for price in self.prices if is_one_of(model, [price.pattern]))
        price = next(fitting, None)
        return price.of(tokens) if price else None
