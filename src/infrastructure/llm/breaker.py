"""Leaving a provider alone that keeps failing, so that nobody waits for it in vain."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from llm_backend.application.ports.chat_model import ChatModel, ChatRequest, Completion, Emit
from llm_backend.domain.answers import Delta
from llm_backend.domain.errors import (
    UpstreamCutOff,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)

LONGEST_COOL_DOWN = timedelta(minutes=15)  # whatever a provider asks for

_FAULTS_OF_PROVIDERS = (
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamProtocolError,
    UpstreamCutOff,
    UpstreamRateLimited,
)

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class BreakingChatModel:
    """After `failures` in a row that are the provider's fault, requests fail at once with `UpstreamUnavailable`.

    When `cool_down` is over, and the time that the provider itself asked for, one request is let through on trial. Its
    first piece lets the others in again; if it fails, the next cool-down begins. Requests that the provider refuses
    and answers that are stopped say nothing against it; neither does the limit of somebody's own key.
    """

    name: str
    model: ChatModel
    failures: int = 5
    cool_down: timedelta = timedelta(seconds=30)
    monotonic: Callable[[], float] = time.monotonic
    _failed: int = field(default=0, init=False)  # in a row
    _open_until: float | None = field(default=None, init=False)
    _on_trial: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether a request would fail at once."""
        return self._open_until is not None and (self._on_trial or self.monotonic() < self._open_until)

    def check(self, model: str, *, own_key: bool) -> None:
        self.model.check(model, own_key=own_key)

    def window(self, model: str) -> int:
        return self.model.window(model)

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        if self._open_until is not None:
            return await self._try(request, emit)
        return await self._watched(request, emit)

    async def _try(self, request: ChatRequest, emit: Emit) -> Completion:
        """Let a request through on trial, if it is time for one."""
        if self.is_open:
            raise UpstreamUnavailable

        def hopefully(deltas: Sequence[Delta]) -> None:
            if self._open_until is not None:
                self._let_in(failed=self.failures - 1)
            emit(deltas)

        self._on_trial = True
        try:
            return await self._watched(request, hopefully, on_trial=True)
        finally:
            self._on_trial = False

    async def _watched(self, request: ChatRequest, emit: Emit, *, on_trial: bool = False) -> Completion:
        try:
            completion = await self.model.answer(request, emit)
        except UpstreamFailed as failure:
            if not _is_its_fault(failure, request):
                self._let_in()
            elif on_trial or self._open_until is None:  # others were asked before the breaker opened
                self._count(failure)
            raise
        self._let_in()
        return completion

    def _let_in(self, *, failed: int = 0) -> None:
        """The provider is alive. After a trial that has only begun well, the next failure will be one too many."""
        if self._open_until is not None:
            _log.info("Provider %s answers again", self.name)
        self._failed, self._open_until = failed, None

    def _count(self, failure: UpstreamFailed) -> None:
        self._failed += 1
        if self._failed >= self.failures:
            wait = max(self.cool_down, min(failure.retry_after or timedelta(), LONGEST_COOL_DOWN))
            self._open_until = self.monotonic() + wait.total_seconds()
            _log.warning("Provider %s is left alone for %s: %s", self.name, wait, failure.code)


def _is_its_fault(failure: UpstreamFailed, request: ChatRequest) -> bool:
    if isinstance(failure, UpstreamRateLimited) and request.api_key is not None:
        return False
    return isinstance(failure, _FAULTS_OF_PROVIDERS)
