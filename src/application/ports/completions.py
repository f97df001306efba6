"""Language models asked in the words of the client: what nobody here has to understand is passed on as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llm_backend.domain.conversations import TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbatimRequest:
    """A request as its sender wrote it, in the format of OpenAI's API.

    `instructions` go before everything that is said in it; whatever address or key it names goes nowhere.
    `shows_usage` says whether whoever reads a stream wants to be told what it cost.
    """

    model: str
    content: bytes
    instructions: str | None = None
    shows_usage: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbatimReply:
    """What came of a request: the reply as the model's server wrote it (nothing, where it was streamed), who wrote it,
    and what it cost; `is_estimated` where the server did not say, or was not let finish."""

    model: str
    usage: TokenUsage
    is_estimated: bool = False
    content: bytes = b""


Pour = Callable[[bytes], None]


@dataclass(slots=True, kw_only=True)
class Streamed:
    """How far a stream has come, for whoever has to know even if it ends early."""

    model: str = ""
    usage: TokenUsage | None = None
    is_estimated: bool = False


class Completions(Protocol):
    """Model servers that are asked verbatim.

    All methods raise `UnknownModel` when nobody serves the model, `ApiKeyRequired` when there is no key for it, and an
    `UpstreamFailed` whose message holds nothing of the server's words. Each tries again, and then with the fallbacks
    that are configured, while nothing has been handed on.
    """

    def check(self, model: str) -> None:
        """Raises `UnknownModel` or `ApiKeyRequired`."""

    async def complete(self, request: VerbatimRequest) -> VerbatimReply:
        """The whole answer."""

    async def stream(self, request: VerbatimRequest, pour: Pour, streamed: Streamed) -> None:
        """Hand the events of the answer to `pour` as they arrive, as bytes: always whole events, the last of which says
        `[DONE]`, unless it raises. `pour` does not wait. `streamed` is kept up to date, also when this is cancelled,
        which closes the connection."""

    async def embed(self, request: VerbatimRequest) -> VerbatimReply:
        """The vectors of texts."""
