"""The HTTP client that all providers share."""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import Any, cast
from urllib.request import getproxies

import httpx

from llm_backend.infrastructure.llm.httptools_transport import HttptoolsTransport

MOST_CONNECTIONS = 4096

# What httpx unpacks, some only where a library for it is installed. What it does not know it takes for no packing, as
# when a server says `utf-8`. None is asked for, but some servers pack whatever they are asked.
_PACKINGS = {"gzip", "deflate", "br", "zstd"}
_TAKEN: tuple[list[str], ...] = ([], ["gzip"], ["deflate"])
_UNPACKED_AT_ONCE = 4096  # bytes: no more than 4 MiB come of them, as deflate packs at most a thousand to one


def provider_client(*, max_connections: int = MOST_CONNECTIONS) -> httpx.AsyncClient:
    """A client for `OpenAiChatModel`; the caller closes it.

    `http://` goes over the fast transport unless the environment names a proxy; `https://` and proxies over httpx's
    own. No time-outs but those of each request, no redirects: they would carry the key to a server nobody chose.
    """
    proxies = getproxies()
    plain = None if proxies.keys() & {"http", "all"} else HttptoolsTransport(max_connections=max_connections)
    return _ForgetfulClient(
        plain,
        mounts={"http://": plain} if plain is not None else None,
        limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=256, keepalive_expiry=15),
        timeout=None,  # the model watches over its requests itself
        follow_redirects=False,
    )


class _NoCookies(httpx.Cookies):
    """Takes none, and so has none to send. Asking a policy each time would cost as much as parsing the response."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


_NO_COOKIES = _NoCookies()


class _ForgetfulClient(httpx.AsyncClient):
    """Many users share it, and they shall share nothing by it.

    What `plain` can send is handed to it right away: redirects, authentication, cookies, hooks and a log of addresses
    are what a client adds, and here none of them is wanted. They cost as much as the request.
    """

    def __init__(self, plain: HttptoolsTransport | None, **options: Any) -> None:
        super().__init__(**options)
        self._plain = plain

    async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        if self._plain is None or request.url.scheme != "http" or self.is_closed:
            response = await super().send(request, stream=True, **options)
        else:
            response = await self._plain.handle_async_request(request)  # without the request, which may be large
        if "content-encoding" in response.headers:
            encodings = response.headers.get_list("content-encoding", split_commas=True)
            response.stream = _InSlices(cast("httpx.AsyncByteStream", response.stream), encodings)
        if not stream:
            async with aclosing(response):
                await response.aread()
        return response

    @property
    def cookies(self) -> httpx.Cookies:
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        pass


class _InSlices(httpx.AsyncByteStream):
    """A packed body. httpx unpacks what one read brings in one go, before anybody can say that it is too much.

    What is packed twice grows a million times, for which no slice is thin enough.
    """

    def __init__(self, stream: httpx.AsyncByteStream, encodings: Sequence[str]) -> None:
        self._stream = stream
        self._packings = [name for name in map(str.lower, encodings) if name in _PACKINGS]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._packings not in _TAKEN:
            raise httpx.DecodingError("The body is packed in a way that is not taken")
        async for data in self._stream:
            for start in range(0, len(data), _UNPACKED_AT_ONCE):
                yield data[start : start + _UNPACKED_AT_ONCE]

    async def aclose(self) -> None:
        await self._stream.aclose()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep httpx from logging addresses within this block: they may contain keys."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def _not_quiet(_: logging.LogRecord) -> bool:
    return not _quiet.get()


logging.getLogger("httpx").addFilter(_not_quiet)  # here, as not every client of a model comes from `provider_client`
