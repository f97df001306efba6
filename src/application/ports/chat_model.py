"""Language models that answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import Role, TokenUsage
from llm_backend.domain.items import FunctionCall, Shown
from llm_backend.domain.secrets import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTurn:
    """One message of a prompt.

    `parts` go in the place of `text` where there are pictures among them. `calls` are those that the model has made
    there; with `result_of`, the id of one, the text is what came of that.
    """

    role: Role
    text: str
    parts: Sequence[Shown] = ()
    calls: Sequence[FunctionCall] = ()
    result_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a model is asked. `api_key` is the user's own; without one the provider's is used.

    `so_far` is the text of an answer that broke off, which the model shall go on with. `options` go to the server as
    they are: JSON, by the names that chat completions have for them.
    """

    model: str
    turns: Sequence[ChatTurn]
    api_key: Secret | None = None
    so_far: str = ""
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """How an answer ended. `finish_reason` is the provider's word for it, such as `stop` or `length`.

    `usage` is what the server of the model that wrote last has counted, if it did; of models that broke off before
    nobody counts anything.
    """

    finish_reason: str | None = None
    usage: TokenUsage | None = None


Emit = Callable[[Sequence[Delta]], None]


class ChatModel(Protocol):
    """One model server, or several behind one face."""

    def check(self, model: str, *, own_key: bool) -> None:
        """Raises `UnknownModel` when nobody here serves it, `ApiKeyRequired` when there is no key for it anywhere."""

    def window(self, model: str) -> int:
        """How many tokens, question and answer together, the model can hold."""

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        """Write an answer: hand its pieces to `emit` in order as they arrive, those that arrive together at once.

        `emit` does not wait. It may raise: the answer is then given up and the error passed on. Raises an
        `UpstreamFailed`, before the first piece or after some; pieces once emitted stay valid. Tries again by itself
        only while nothing has been emitted. Cancelling it closes the connection to the server.

        What is emitted comes after `request.so_far`, to the character, and repeats nothing of it. Where another model
        goes on in the place of one that broke off, its first piece is a `Continued`, and the first of its batch.
        Calls of functions come as `CallPiece`s, in batches of their own.
        """
