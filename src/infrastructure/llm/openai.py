"""Any server that speaks OpenAI's chat completions: OpenAI, Zhipu, DeepSeek, Ollama, vLLM and many more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import msgspec

from llm_backend.application.ports.chat_model import ChatRequest, ChatTurn, Completion, Emit
from llm_backend.domain.continuation import GO_ON
from llm_backend.domain.conversations import Role, check_api_key
from llm_backend.domain.errors import (
    ApiKeyRequired,
    UpstreamCutOff,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.llm.asking import request_to
from llm_backend.infrastructure.llm.bodies import message_of
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.new_text import NewText
from llm_backend.infrastructure.llm.openai_attempt import Attempt
from llm_backend.infrastructure.llm.retry import RetryPolicy

DEFAULT_WINDOW = 32_768

_WORTH_ANOTHER_TRY = (UpstreamUnavailable, UpstreamRateLimited, UpstreamCutOff)
_STREAM = b"text/event-stream"

_log = logging.getLogger(__name__)


class OpenAiChatModel:
    """The models of one server, at `base_url` + `/chat/completions`; it does not know which they are.

    A server without `key_required` (Ollama, vLLM) is asked without a key when there is none. `window` holds for all
    its models. `client` comes from `provider_client` and stays the caller's. Texts, addresses and keys of the server
    appear in no error and no log record. Raises `InvalidApiKey` for a key that no header can carry.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        base_url: str,
        name: str = "openai",
        api_key: Secret | None = None,
        key_required: bool = True,
        window: int = DEFAULT_WINDOW,
        limits: AnswerLimits | None = None,
        retries: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        base = httpx.URL(base_url)
        if api_key is not None:
            check_api_key(api_key.reveal())
        self._url = base.copy_with(path=base.path.rstrip("/") + "/chat/completions")
        self._client = client
        self._name = name
        self._api_key = api_key
        self._key_required = key_required
        self._window = window
        self._limits = limits or AnswerLimits()
        self._retries = retries or RetryPolicy()
        self._sleep = sleep
        self._reports_usage = True

    def check(self, model: str, *, own_key: bool) -> None:  # noqa: ARG002 - the router knows the models
        if self._key_required and self._api_key is None and not own_key:
            raise ApiKeyRequired

    def window(self, model: str) -> int:  # noqa: ARG002
        return self._window

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        deadline = asyncio.timeout(self._limits.total.total_seconds())
        try:
            async with deadline:
                if request.so_far:
                    return await self._go_on(request, emit)
                return await self._persistently(request, emit, self._limits)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise UpstreamTimeout from error

    async def _go_on(self, request: ChatRequest, emit: Emit) -> Completion:
        """The limits hold for the whole text, and what is repeated of it stays away from the reader."""
        room = max(self._limits.longest_answer - len(request.so_far), 0)
        new_text = NewText(request.so_far, emit)
        try:
            completion = await self._persistently(request, new_text, replace(self._limits, longest_answer=room))
        except UpstreamFailed:
            new_text.finish()
            raise
        new_text.finish()
        return completion

    async def _persistently(self, request: ChatRequest, emit: Emit, limits: AnswerLimits) -> Completion:
        with_usage = self._reports_usage
        failures = 0
        while True:
            attempt = Attempt(self._client, self._http_request(request, with_usage=with_usage), emit, limits)
            try:
                completion = await attempt.run()
            except UpstreamFailed as failure:
                _log.warning("Provider %s: %s (status %s)", self._name, failure.code, attempt.status)
                if with_usage and attempt.status in {400, 422}:
                    with_usage = False  # `stream_options` is the one thing in our requests that some servers refuse
                    continue
                failures += 1
                wait = self._wait(failure, attempt, failures)
                if wait is None:
                    raise
            else:
                self._reports_usage &= with_usage
                return completion
            await self._sleep(wait.total_seconds())

    def _wait(self, failure: UpstreamFailed, attempt: Attempt, failures: int) -> timedelta | None:
        if attempt.emitted or not isinstance(failure, _WORTH_ANOTHER_TRY) or attempt.status in {501, 505}:
            return None
        return self._retries.wait(failures, failure.retry_after)

    def _http_request(self, request: ChatRequest, *, with_usage: bool) -> httpx.Request:
        body = _body(request, with_usage=with_usage)
        return request_to(self._url, accept=_STREAM, key=self._key(request), connect=self._limits.connect, body=body)

    def _key(self, request: ChatRequest) -> str | None:
        secret = request.api_key or self._api_key
        if secret is not None:
            key = secret.reveal()
            check_api_key(key)
            return key
        if self._key_required:
            raise ApiKeyRequired
        return None


def _turns(request: ChatRequest) -> Sequence[ChatTurn]:
    """A text to go on with becomes a turn of the model's own, and a turn of the user's that tells it to.

    Some servers can prefill an answer instead, each in a way of its own; this way all of them can.
    """
    if not request.so_far:
        return request.turns
    begun = ChatTurn(role=Role.ASSISTANT, text=request.so_far)
    return [*request.turns, begun, ChatTurn(role=Role.USER, text=GO_ON)]


def _body(request: ChatRequest, *, with_usage: bool) -> bytes:
    body: dict[str, Any] = {
        **request.options,
        "model": request.model,
        "messages": [message_of(turn) for turn in _turns(request)],
        "stream": True,
    }
    if with_usage:
        body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)
