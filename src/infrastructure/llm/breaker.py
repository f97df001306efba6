"""Leaving a provider alone that keeps failing, so that nobody waits for it in vain."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

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

T = TypeVar("T")

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
class Breaker:
    """After `failures` in a row that are the provider's fault, requests fail at once with `UpstreamUnavailable`.

    When `cool_down` is over, and the time that the provider itself asked for, one request is let through on trial. Its
    first piece lets the others in again; if it fails, the next cool-down begins. Requests that the provider refuses
    and answers that are stopped say nothing against it; neither does the limit of somebody's own key.
    """

    name: str
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

    @property
    def is_closed(self) -> bool:
        """Whether all is well, so that nobody need say what is `heard`."""
        return self._open_until is None

    async def watch(self, ask: Callable[[], Awaitable[T]], *, own_key: bool = False) -> T:
        """Ask, unless the provider is to be left alone, and see what comes of it."""
        if self._open_until is None:
            return await self._watched(ask, own_key=own_key)
        if self.is_open:
            raise UpstreamUnavailable
        self._on_trial = True
        try:
            return await self._watched(ask, own_key=own_key, on_trial=True)
        finally:
            self._on_trial = False

    def heard(self) -> None:
        """A piece has come. After a trial that has only begun well, the next failure will be one too many."""
        if self._open_until is not None:
            self._let_in(failed=self.failures - 1)

    async def _watched(self, ask: Callable[[], Awaitable[T]], *, own_key: bool, on_trial: bool = False) -> T:
        try:
            outcome = await ask()
        except UpstreamFailed as failure:
            if not _is_its_fault(failure, own_key=own_key):
                self._let_in()
            elif on_trial or self._open_until is None:  # others were asked before the breaker opened
                self._count(failure)
            raise
        self._let_in()
        return outcome

    def _let_in(self, *, failed: int = 0) -> None:
        if self._open_until is not None:
            _log.info("Provider %s answers again", self.name)
        self._failed, self._open_until = failed, None

    def _count(self, failure: UpstreamFailed) -> None:
        self._failed += 1
        if self._failed >= self.failures:
            wait = max(self.cool_down, min(failure.retry_after or timedelta(), LONGEST_COOL_DOWN))
            self._open_until = self.monotonic() + wait.total_seconds()
            _log.warning("Provider %s is left alone for %s: %s", self.name, wait, failure.code)


@dataclass(frozen=True, slots=True)
class BreakingChatModel:
    """A model behind a breaker."""

    model: ChatModel
    breaker: Breaker

    def check(self, model: str, *, own_key: bool) -> None:
        self.model.check(model, own_key=own_key)

    def window(self, model: str) -> int:
        return self.model.window(model)

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        told = emit if self.breaker.is_closed else self._hopefully(emit)
        return await self.breaker.watch(lambda: self.model.answer(request, told), own_key=request.api_key is not None)

    def _hopefully(self, emit: Emit) -> Emit:
        def hear(deltas: Sequence[Delta]) -> None:
            self.breaker.heard()
            emit(deltas)

        return hear


def _is_its_fault(failure: UpstreamFailed, *, own_key: bool) -> bool:
    if isinstance(failure, UpstreamRateLimited) and own_key:
        return False
    return isinstance(failure, _FAULTS_OF_PROVIDERS)
