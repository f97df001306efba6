"""One request to an OpenAI-compatible server, and what came of it."""

import asyncio

import httpx

from llm_backend.application.ports.chat_model import Completion, Emit
from llm_backend.domain.errors import UpstreamCutOff, UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable
from llm_backend.infrastructure.llm.answer_reader import AnswerReader
from llm_backend.infrastructure.llm.chunks import decode_reply
from llm_backend.infrastructure.llm.client import quiet
from llm_backend.infrastructure.llm.failures import failure_of_status
from llm_backend.infrastructure.llm.http_exchange import PUSH
from llm_backend.infrastructure.llm.limits import AnswerLimits
from llm_backend.infrastructure.llm.responses import BYTES_PER_CHARACTER, let_go, parts
from llm_backend.infrastructure.llm.retry import parse_retry_after
from llm_backend.infrastructure.llm.watchdog import Watchdog

_ENVELOPE = 64 * 1024


class Attempt:
    """Sends `request` once and emits the answer."""

    def __init__(self, client: httpx.AsyncClient, request: httpx.Request, emit: Emit, limits: AnswerLimits) -> None:
        self.status: int | None = None
        """The reply's, as soon as it has come."""
        self._client = client
        self._request = request
        self._limits = limits
        self._reader = AnswerReader(emit, longest_answer=limits.longest_answer, longest_line=limits.longest_line)

    @property
    def emitted(self) -> bool:
        return self._reader.emitted

    async def run(self) -> Completion:
        """Raises an `UpstreamFailed` for all that goes wrong outside `emit`."""
        watchdog = Watchdog(self._limits.first_token.total_seconds())
        try:
            async with watchdog:
                await self._exchange(watchdog)
        except TimeoutError as error:
            if not watchdog.barked:
                raise
            if not self._reader.ended:
                raise UpstreamTimeout from error
        except httpx.ConnectTimeout as error:
            raise UpstreamTimeout from error
        except httpx.DecodingError as error:
            if not self._reader.ended:
                raise UpstreamProtocolError from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if not self._reader.ended:
                raise (UpstreamUnavailable if self.status is None else UpstreamCutOff) from error
        return self._reader.completion()

    async def _exchange(self, watchdog: Watchdog) -> None:
        with quiet():
            response = await self._client.send(self._request, stream=True)
        del self._request  # with the prompt, which may be large, and need not be kept for as long as the answer takes
        try:
            self.status = response.status_code
            if not response.is_success:
                failure = failure_of_status(response.status_code)
                failure.retry_after = parse_retry_after(response.headers.get("retry-after"))
                raise failure
            await self._read(response, watchdog)
        finally:
            await let_go(response)

    async def _read(self, response: httpx.Response, watchdog: Watchdog) -> None:
        match response.headers.get("content-type", "").partition(";")[0].strip().lower():
            case "application/json":
                await self._read_whole(response)
            case "text/html":  # the page of a proxy or of a wrong address
                raise UpstreamProtocolError
            case _:
                await self._read_stream(response, watchdog)

    async def _read_stream(self, response: httpx.Response, watchdog: Watchdog) -> None:
        now = asyncio.get_running_loop().time
        idle = self._limits.idle.total_seconds()
        reader = self._reader

        def hear(data: bytes) -> bool:
            began = reader.began
            if began:
                watchdog.heard = now()
            ended = reader.feed(data)
            if reader.began and not began:
                watchdog.expect(idle)
            return ended

        push = response.extensions.get(PUSH)
        if push is not None and "content-encoding" not in response.headers:
            await push(hear)
        else:
            async with parts(response) as body_parts:
                async for part in body_parts:
                    if hear(part):
                        break
        reader.finish()

    async def _read_whole(self, response: httpx.Response) -> None:
        """A server that does not stream, whatever it was asked."""
        room = self._limits.longest_answer * BYTES_PER_CHARACTER + _ENVELOPE
        body = bytearray()
        async with parts(response) as body_parts:
            async for part in body_parts:
                body += part
                if len(body) > room:
                    raise UpstreamProtocolError
        self._reader.read([decode_reply(bytes(body))])
