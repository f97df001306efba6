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
    """Of a million tokens, asked and answered, of the models that a shell pattern such as `gpt-4o*` names."""

    pattern: str
    prompt: float
    completion: float


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The first pattern that fits counts."""

    prices: Sequence[Price] = ()

    def cost(self, model: str, tokens: TokenUsage) -> int | None:
        """In billionths: what a million tokens cost, times a thousand, is what one token costs."""
        for price in self.prices:
            if is_one_of(model, [price.pattern]):
                return round(
                    (tokens.prompt * price.prompt + tokens.completion * price.completion) * (NANO // 1_000_000)
                )
        return None
