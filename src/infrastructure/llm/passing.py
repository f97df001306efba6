"""One OpenAI-compatible server, asked verbatim."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import httpx

from llm_backend.application.ports.completions import Pour, Streamed, VerbatimReply, VerbatimRequest
from llm_backend.application.ports.model_catalogue import ListedModel
from llm_backend.domain.conversations import check_api_key
from llm_backend.domain.errors import (
    ApiKeyRequired,
    UpstreamCutOff,
    UpstreamFailed,
    UpstreamProtocolError,
    UpstreamRateLimited,
    UpstreamRejectedRequest,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.llm.asking import request_to
from llm_backend.infrastructure.llm.client import quiet
from llm_backend.infrastructure.llm.failures import failure_of_status
from llm_backend.infrastructure.llm.http_exchange import PUSH
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.relay import EventRelay
from llm_backend.infrastructure.llm.responses import BYTES_PER_CHARACTER, let_go, parts
from llm_backend.infrastructure.llm.retry import RetryPolicy, parse_retry_after
from llm_backend.infrastructure.llm.verbatim import as_events, estimate, listed_models, outgoing, whole_reply
from llm_backend.infrastructure.llm.watchdog import Watchdog

T = TypeVar("T")

_ENVELOPES = 16  # how much longer than its text an answer may be: of a short piece most is what stands around it
_PATIENCE_FOR_LISTS = 5.0  # seconds; somebody waits for a list that is whole enough without
_WORTH_ANOTHER_TRY = (UpstreamUnavailable, UpstreamRateLimited, UpstreamCutOff)
_ANY = b"application/json, text/event-stream"

_log = logging.getLogger(__name__)


class VerbatimServer(Protocol):
    """One provider. `model` is what it calls the model; `Completions` says the rest."""

    def check(self) -> None:
        """Raises `ApiKeyRequired`."""

    async def complete(self, request: VerbatimRequest, model: str) -> VerbatimReply: ...

    async def stream(self, request: VerbatimRequest, model: str, pour: Pour, streamed: Streamed) -> None: ...

    async def embed(self, request: VerbatimRequest, model: str) -> VerbatimReply: ...


class OpenAiServer:
    """A `VerbatimServer` at `base_url`. `client` comes from `provider_client` and stays the caller's.

    Texts, addresses and keys of the server appear in no error and no log record.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        base_url: str,
        name: str = "openai",
        api_key: Secret | None = None,
        key_required: bool = True,
        limits: AnswerLimits | None = None,
        retries: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if api_key is not None:
            check_api_key(api_key.reveal())
        self._client = client
        base = httpx.URL(base_url)
        paths = ("chat/completions", "embeddings", "models")
        self._urls = {path: base.copy_with(path=f"{base.path.rstrip('/')}/{path}") for path in paths}
        self._name = name
        self._api_key = api_key
        self._key_required = key_required
        self._limits = limits or AnswerLimits()
        self._retries = retries or RetryPolicy()
        self._sleep = sleep
        self._reports_usage = True

    def check(self) -> None:
        if self._key_required and self._api_key is None:
            raise ApiKeyRequired

    async def complete(self, request: VerbatimRequest, model: str) -> VerbatimReply:
        content = await self._whole("chat/completions", outgoing(request, model))
        return whole_reply(content, request, model)

    async def embed(self, request: VerbatimRequest, model: str) -> VerbatimReply:
        content = await self._whole("embeddings", outgoing(request, model))
        return whole_reply(content, request, model)

    async def models(self) -> Sequence[ListedModel]:
        """What the server lists itself, once and without patience. Raises an `UpstreamFailed` or `ApiKeyRequired`."""
        try:
            async with asyncio.timeout(_PATIENCE_FOR_LISTS):
                content = await self._whole_once(self._request("models"))
        except TimeoutError as error:
            raise UpstreamTimeout from error
        return [
            ListedModel(id=model.id, owned_by=model.owned_by or self._name, created=model.created or 0)
            for model in listed_models(content)
        ]

    async def stream(self, request: VerbatimRequest, model: str, pour: Pour, streamed: Streamed) -> None:
        relays: list[EventRelay] = []

        async def attempt(*, with_usage: bool) -> None:
            relays.append(self._relay(request))
            sent = self._request("chat/completions", outgoing(request, model, with_usage=with_usage))
            await self._stream_once(sent, relays[-1], pour)

        try:
            await self._in_time(lambda: self._streamed(attempt, relays, asked=request.shows_usage))
        finally:
            streamed.model = model
            if relays and (relays[-1].began or relays[-1].usage):
                streamed.usage = relays[-1].usage or relays[-1].estimated(estimate(request, b""))
                streamed.is_estimated = relays[-1].usage is None

    def _relay(self, request: VerbatimRequest) -> EventRelay:
        limits = self._limits
        longest = limits.longest_answer * _ENVELOPES
        return EventRelay(shows_usage=request.shows_usage, longest=longest, longest_line=limits.longest_line)

    # Again and again -------------------------------------------------------------------------------------------------

    async def _streamed(self, attempt: "StreamAttempt", relays: list[EventRelay], *, asked: bool) -> None:
        """Some servers refuse to be asked for usage: they are asked once more without, and never again."""
        with_usage = self._reports_usage or asked
        try:
            await self._persistently(lambda: attempt(with_usage=with_usage), lambda: relays[-1].began)
        except UpstreamFailed as failure:
            if asked or not with_usage or not isinstance(failure, UpstreamRejectedRequest):
                raise
            await self._persistently(lambda: attempt(with_usage=False), lambda: relays[-1].began)
            self._reports_usage = False

    async def _whole(self, path: str, content: bytes) -> bytes:
        return await self._in_time(
            lambda: self._persistently(lambda: self._whole_once(self._request(path, content)), lambda: False)
        )

    async def _persistently(self, attempt: Callable[[], Awaitable[T]], began: Callable[[], bool]) -> T:
        failures = 0
        while True:
            try:
                return await attempt()
            except UpstreamFailed as failure:
                _log.warning("Provider %s: %s", self._name, failure.code)
                failures += 1
                if began() or not isinstance(failure, _WORTH_ANOTHER_TRY):
                    raise
                wait = self._retries.wait(failures, failure.retry_after)
                if wait is None:
                    raise
            await self._sleep(wait.total_seconds())

    async def _in_time(self, work: Callable[[], Awaitable[T]]) -> T:
        deadline = asyncio.timeout(self._limits.total.total_seconds())
        try:
            async with deadline:
                return await work()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise UpstreamTimeout from error

    # Once ------------------------------------------------------------------------------------------------------------

    async def _whole_once(self, request: httpx.Request) -> bytes:
        """A reply in one piece may keep us waiting as long as the first piece of one in many, and the pauses."""
        body = b""

        async def read(response: httpx.Response, watchdog: Watchdog) -> None:
            nonlocal body
            watchdog.expect(self._limits.idle.total_seconds())
            body = await self._body(response, watchdog)

        await self._exchange(request, read, patience=self._limits.total.total_seconds())
        return body

    async def _body(self, response: httpx.Response, watchdog: Watchdog) -> bytes:
        """Raises `UpstreamProtocolError` when it is longer than any answer may be."""
        room = self._limits.longest_answer * BYTES_PER_CHARACTER
        body = bytearray()
        async with parts(response) as body_parts:
            async for part in body_parts:
                body.extend(part)
                watchdog.heard = asyncio.get_running_loop().time()
                if len(body) > room:
                    raise UpstreamProtocolError
        return bytes(body)

    async def _stream_once(self, request: httpx.Request, relay: EventRelay, pour: Pour) -> None:
        async def read(response: httpx.Response, watchdog: Watchdog) -> None:
            match response.headers.get("content-type", "").partition(";")[0].strip().lower():
                case "application/json":  # a server that does not stream, whatever it was asked
                    _hand_on(relay, relay.feed(as_events(await self._body(response, watchdog))), pour)
                case "text/html":  # the page of a proxy or of a wrong address
                    raise UpstreamProtocolError
                case _:
                    await self._read_events(response, watchdog, relay, pour)

        try:
            await self._exchange(request, read, patience=self._limits.first_token.total_seconds())
        except (UpstreamTimeout, UpstreamCutOff):
            if not relay.done:
                raise

    async def _read_events(self, response: httpx.Response, watchdog: Watchdog, relay: EventRelay, pour: Pour) -> None:
        now = asyncio.get_running_loop().time
        idle = self._limits.idle.total_seconds()

        def hear(data: bytes) -> bool:
            began = relay.began
            if began:
                watchdog.heard = now()
            _hand_on(relay, relay.feed(data), pour)
            if relay.began and not began:
                watchdog.expect(idle)
            return relay.done

        push = response.extensions.get(PUSH)
        if push is not None and "content-encoding" not in response.headers:
            await push(hear)
        else:
            async with parts(response) as body_parts:
                async for part in body_parts:
                    if hear(part):
                        break
        _hand_on(relay, relay.finish(), pour)

    async def _exchange(
        self,
        request: httpx.Request,
        read: Callable[[httpx.Response, Watchdog], Awaitable[None]],
        *,
        patience: float,
    ) -> None:
        """Raises an `UpstreamFailed` for all that goes wrong. `patience` is how many seconds to wait for anything."""
        answered = False
        watchdog = Watchdog(patience)
        try:
            async with watchdog:
                with quiet():
                    response = await self._client.send(request, stream=True)
                answered = True
                try:
                    _check_status(response)
                    await read(response, watchdog)
                finally:
                    await let_go(response)
        except TimeoutError as error:
            if not watchdog.barked:
                raise
            raise UpstreamTimeout from error
        except httpx.ConnectTimeout as error:
            raise UpstreamTimeout from error
        except httpx.DecodingError as error:
            raise UpstreamProtocolError from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise (UpstreamCutOff if answered else UpstreamUnavailable) from error

    def _request(self, path: str, content: bytes | None = None) -> httpx.Request:
        self.check()
        key = self._api_key.reveal() if self._api_key else None
        return request_to(self._urls[path], accept=_ANY, key=key, connect=self._limits.connect, body=content)


class StreamAttempt(Protocol):
    def __call__(self, *, with_usage: bool) -> Awaitable[None]: ...


def _hand_on(relay: EventRelay, events: bytes, pour: Pour) -> None:
    """What came before a fault is handed on before it is raised."""
    if events:
        pour(events)
    if relay.failure is not None:
        raise relay.failure


def _check_status(response: httpx.Response) -> None:
    if not response.is_success:
        failure = failure_of_status(response.status_code)
        failure.retry_after = parse_retry_after(response.headers.get("retry-after"))
        raise failure
