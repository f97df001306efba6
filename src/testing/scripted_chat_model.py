"""A chat model that does exactly what a test tells it to."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from typing import TypeAlias

from llm_backend.application.ports.chat_model import ChatRequest, Completion, Emit
from llm_backend.domain.answers import CallPiece, Delta
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import ApiKeyRequired, UnknownModel


class Forever(Enum):
    """See `FOREVER`."""

    FOREVER = "forever"


FOREVER = Forever.FOREVER
"""A step that never ends, unless the answer is cancelled."""

Step: TypeAlias = str | Sequence[str] | CallPiece | asyncio.Event | BaseException | Forever

HELLO = ("Hello", ",", " world")
_STOPPED = Completion(finish_reason="stop", usage=TokenUsage(prompt=1, completion=1))


class ScriptedChatModel:
    """Plays a script for each request, and records it in `requests`.

    Steps: a text is emitted as one piece, a list of texts as several at once; a `CallPiece` is emitted as it is; an
    event is waited for; an error is raised; `FOREVER` waits until the answer is cancelled. Without steps it says hello.
    With `models` it serves these alone; with `key_required` it wants a key of the user's own. What a request has of the
    script's text so far is left out.
    """

    def __init__(
        self,
        *steps: Step,
        completion: Completion = _STOPPED,
        window: int = 32_768,
        models: Collection[str] | None = None,
        key_required: bool = False,
    ) -> None:
        self.requests: list[ChatRequest] = []
        self.running = 0
        """How many answers are being written."""
        self.cancelled = 0
        """How many were cancelled."""
        self._steps: Sequence[Step] = steps or HELLO
        self._next: deque[Sequence[Step]] = deque()
        self.completion = completion
        """How answers end, if they come to their end."""
        self._window = window
        self._models = models
        self._key_required = key_required
        self._changed = asyncio.Condition()

    def play_next(self, *steps: Step) -> None:
        """The next request that has no script of its own yet gets this one; later ones the usual again."""
        self._next.append(steps)

    async def asked(self, count: int = 1) -> ChatRequest:
        """Wait until that many requests have been made in all; the last of them."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def idle(self) -> None:
        """Wait until no answer is being written."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.running == 0)

    def check(self, model: str, *, own_key: bool) -> None:
        if self._models is not None and model not in self._models:
            raise UnknownModel
        if self._key_required and not own_key:
            raise ApiKeyRequired

    def window(self, model: str) -> int:  # noqa: ARG002
        return self._window

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        self.check(request.model, own_key=request.api_key is not None)
        steps = self._next.popleft() if self._next else self._steps
        self.requests.append(request)
        self.running += 1
        try:
            await self._tell()
            for step in _after(request.so_far, steps):
                await _play(step, emit)
            return self.completion
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _after(so_far: str, steps: Sequence[Step]) -> Iterator[Step]:
    """The steps without the text that is there already, if they begin with it."""
    skipped = len(so_far) if "".join(map(_text, steps)).startswith(so_far) else 0
    for step in steps:
        text = _text(step)
        if not text or not skipped:
            yield step
        elif rest := text[skipped:]:
            yield rest
        skipped = max(skipped - len(text), 0)


def _text(step: Step) -> str:
    match step:
        case CallPiece() | asyncio.Event() | BaseException() | Forever():
            return ""
        case _:
            return "".join(step)


async def _play(step: Step, emit: Emit) -> None:
    match step:
        case str():
            emit([Delta(step)])
        case CallPiece():
            emit([step])
        case BaseException():
            raise step
        case asyncio.Event():
            await step.wait()
        case Forever():
            await asyncio.Event().wait()
        case _:
            emit([Delta(piece) for piece in step])
    await asyncio.sleep(0)  # as over a network, others run between two pieces
