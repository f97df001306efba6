"""Another model in the place of one that fails, even in the middle of an answer."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import takewhile

from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, ChatTurn, Completion, Emit
from llm_backend.domain.answers import CallPiece, Continued, Delta
from llm_backend.domain.continuation import GO_ON
from llm_backend.domain.conversations import Role, Seam
from llm_backend.domain.errors import (
    AnswerTooLong,
    ApiKeyRequired,
    MessageTooLong,
    UnknownModel,
    UpstreamFailed,
    UpstreamRejectedKey,
    UpstreamRejectedRequest,
    UpstreamTimeout,
)
from llm_backend.domain.window import MESSAGE_OVERHEAD, estimated_tokens, fitting

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackChatModel:
    """When `model` fails, those named in `fallbacks` go on from the text so far, one after the other.

    `others` serves them; their own fallbacks are not asked. They get the server's keys, never the user's own, which
    belongs to the provider it was given for; one that has no key, or whose window is too small, is passed over.
    `total` holds for the whole answer. Whatever was refused before the first piece – a request, or a key of the
    user's own – is told the user, who can change it. When nobody completes the answer, the failure of whoever wrote
    last is raised.
    """

    model: ChatModel
    fallbacks: Sequence[str]
    others: ChatModel
    total: timedelta

    def check(self, model: str, *, own_key: bool) -> None:
        self.model.check(model, own_key=own_key)

    def window(self, model: str) -> int:
        return self.model.window(model)

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        deadline = asyncio.get_running_loop().time() + self.total.total_seconds()
        told = _Told(emit, request.so_far)
        try:
            return await self.model.answer(request, told.emit)
        except UpstreamFailed as error:
            if told.refused or not _may_be_replaced(error, request, told):
                raise
            failure = error
        return await self._in_time(request, told, failure, deadline)

    async def _in_time(
        self, request: ChatRequest, told: "_Told", failure: UpstreamFailed, deadline: float
    ) -> Completion:
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                return await self._go_on(request, told, failure)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise UpstreamTimeout from error

    async def _go_on(self, request: ChatRequest, told: "_Told", failure: UpstreamFailed) -> Completion:
        for name in self.fallbacks:
            continued = self._continued(request, name, told.text)
            if continued is None:
                continue
            _log.warning("%s goes on for %s: %s", name, request.model, failure.code)
            told.hand_over(name, failure.code)
            try:
                completion = await self.others.answer(continued, told.emit_continued)
            except AnswerTooLong:
                raise
            except UpstreamFailed as error:
                if told.refused:
                    raise
                failure = error if told.is_continued else failure
            else:
                if told.is_continued:
                    return completion
        raise failure

    def _continued(self, request: ChatRequest, name: str, so_far: str) -> ChatRequest | None:
        """What to ask a fallback, or None when it cannot be asked."""
        try:
            self.others.check(name, own_key=False)
            turns = _fitting_turns(request, so_far, self.others.window(name))
        except (UnknownModel, ApiKeyRequired, MessageTooLong):
            return None
        return replace(request, model=name, turns=turns, api_key=None, so_far=so_far)


class _Told:
    """What the reader has been told so far, for whoever goes on. `refused`: it raised an error, and wants no more."""

    def __init__(self, emit: Emit, so_far: str) -> None:
        self.refused = False
        self.has_called = False
        self._emit = emit
        self._so_far = so_far
        self._batches: list[Sequence[Delta]] = []
        self._seam: Seam | None = None  # until the first piece behind it

    @property
    def text(self) -> str:
        return self._so_far + "".join(delta.text for batch in self._batches for delta in batch)

    @property
    def has_begun(self) -> bool:
        return bool(self._batches)

    @property
    def is_continued(self) -> bool:
        """Whether the one to whom it was handed over has written anything."""
        return self._seam is None

    def emit(self, deltas: Sequence[Delta]) -> None:
        """The hot path: what is kept is kept elsewhere as well."""
        try:
            self._emit(deltas)
        except BaseException:
            self.refused = True
            raise
        self._batches.append(deltas)
        self.has_called |= type(deltas[0]) is CallPiece

    def hand_over(self, model: str, reason: str) -> None:
        self._seam = Seam(at=len(self.text), model=model, reason=reason)

    def emit_continued(self, deltas: Sequence[Delta]) -> None:
        if self._seam is not None:
            first, *rest = deltas
            if not isinstance(first, CallPiece):
                deltas = [Continued(first.text, self._seam), *rest]
            self._seam = None
        self.emit(deltas)


def _may_be_replaced(failure: UpstreamFailed, request: ChatRequest, told: _Told) -> bool:
    match failure:
        case AnswerTooLong():
            return False
        case _ if told.has_called:
            return False  # nobody can go on in the middle of a call
        case UpstreamRejectedRequest():
            return told.has_begun
        case UpstreamRejectedKey():
            return told.has_begun or request.api_key is None
        case _:
            return True


def _fitting_turns(request: ChatRequest, so_far: str, window: int) -> Sequence[ChatTurn]:
    """As much of the prompt as fits into another window, with what is there of the answer.

    Raises `MessageTooLong` when not even the question does. A prompt with calls, or pictures, stays as it is: a result
    makes no sense without its call.
    """
    if any(turn.calls or turn.parts for turn in request.turns):
        return request.turns
    turns = list(request.turns)
    instructions = list(takewhile(lambda turn: turn.role == Role.SYSTEM, turns))
    *past, question = turns[len(instructions) :]
    beside = [turn.text for turn in instructions] + ([so_far, GO_ON] if so_far else [])
    taken = sum(estimated_tokens(text) + MESSAGE_OVERHEAD for text in beside)
    return [*instructions, *fitting(past, question, window=window, taken=taken)]
