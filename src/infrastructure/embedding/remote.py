"""What all servers of embedding models have in common: batches, waiting, refusals, limits. Needs httpx."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

import httpx
import msgspec

from llm_backend.application.ports.embedder import Embedded, Vector
from llm_backend.domain.errors import EmbeddingFailed, EmbeddingKeyRejected
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.embedding.semantic import SemanticEmbedder
from llm_backend.infrastructure.embedding.texts import Wording
from llm_backend.infrastructure.embedding.vectors import nowhere, unit

KEY_REJECTED = frozenset({401, 403})
REFUSED = frozenset({400, 413, 422})  # that a text is too long, or all of them together are
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
MOST_CHARACTERS = 100_000  # in one request; servers count tokens, and refuse more than some 300,000 of them
CHARACTERS_PER_NUMBER = 64  # of a reply, with blanks and line ends; what is longer is not read to its end
SHORTEST_CUT = 256  # characters; whoever refuses a text of this length does not refuse its length

Sleep = Callable[[float], Awaitable[None]]
Options = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a request is tried, in how many seconds each, and how long a server may ask us to wait."""

    attempts: int
    seconds: float
    longest_wait: float


FOR_DOCUMENTS = Patience(attempts=5, seconds=120, longest_wait=60)
FOR_QUERIES = Patience(attempts=2, seconds=10, longest_wait=1)  # somebody waits, and can be answered without a vector


class Dialect(Protocol):
    """How a kind of server is spoken to."""

    @property
    def path(self) -> str: ...

    @property
    def ways(self) -> Sequence[Options]:
        """What else may be in a request, the best first: the first that a server does not refuse is kept to."""

    def request(self, texts: Sequence[str]) -> Options: ...

    def numbers(self, body: bytes, count: int) -> Sequence[Sequence[float]]:
        """One sequence for each text, in their order. Raises `EmbeddingFailed`."""


class _Refused(EmbeddingFailed):
    """The server does not want this request, and may want another."""


class RemoteEmbedder(SemanticEmbedder):
    """One model of one server. Texts go there in batches, and again after failures that may pass.

    What a server refuses is tried in halves, and at last a single text without its second half: the vector of the
    beginning is better than none. Whatever goes wrong is `EmbeddingFailed`, in whose message there is nothing of the
    server's words or the key.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        base_url: str,
        dialect: Dialect,
        space: EmbeddingSpace,
        api_key: Secret | None = None,
        batch: int = 32,
        wording: Wording | None = None,
        cosine_weight: float = 0.7,
        related_cosine: float = 0.5,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """The caller closes the client."""
        super().__init__(space=space, wording=wording, cosine_weight=cosine_weight, related_cosine=related_cosine)
        self._client = client
        self._url = f"{base_url.rstrip('/')}/{dialect.path}"
        self._dialect = dialect
        self._way: Options | None = None  # that the server is known to take
        self._api_key = api_key
        self._batch = batch
        self._sleep = sleep

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        vectors: list[Vector] = []
        for batch in _batches([self._wording.of_document(text) for text in texts], self._batch):
            vectors += await self._embed(batch, FOR_DOCUMENTS)
        return Embedded(vectors=vectors)

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:  # noqa: ARG002
        (vector,) = await self._embed([self._wording.of_query(text)], FOR_QUERIES)
        return vector

    async def _embed(self, texts: Sequence[str], patience: Patience) -> list[Vector]:
        """Blank texts, which servers refuse, get the vector without a length."""
        visible = [text for text in texts if text.strip()]
        vectors = iter(await self._in_halves(visible, patience) if visible else [])
        return [next(vectors) if text.strip() else nowhere(self._space.dimensions) for text in texts]

    async def _in_halves(self, texts: Sequence[str], patience: Patience) -> list[Vector]:
        try:
            return await self._asked(texts, patience)
        except _Refused:
            half = len(texts) // 2
            if half:
                first = await self._in_halves(texts[:half], patience)
                return [*first, *await self._in_halves(texts[half:], patience)]
            if len(texts[0]) <= SHORTEST_CUT:
                raise
            return await self._in_halves([texts[0][: len(texts[0]) // 2]], patience)

    async def _asked(self, texts: Sequence[str], patience: Patience) -> list[Vector]:
        for way in self._dialect.ways if self._way is None else [self._way]:
            reply = await self._patiently(texts, way, patience)
            if reply.status == 200:
                found = self._dialect.numbers(reply.body, len(texts))
                vectors = [unit(numbers, self._space.dimensions) for numbers in found]
                self._way = way
                return vectors
        raise _Refused

    async def _patiently(self, texts: Sequence[str], way: Options, patience: Patience) -> "_Reply":
        """One that was served or refused."""
        wait = 0.5
        for attempt in range(1, patience.attempts + 1):
            reply = await self._attempt(texts, way, patience)
            if reply.status == 200 or reply.status in REFUSED:
                return reply
            if reply.status in KEY_REJECTED:
                raise EmbeddingKeyRejected
            jittered = wait * random.uniform(0.5, 1)  # noqa: S311 - no secret
            asked_to_wait = jittered if reply.retry_after is None else reply.retry_after
            if reply.status not in RETRIED or attempt == patience.attempts or asked_to_wait > patience.longest_wait:
                break
            await self._sleep(asked_to_wait)
            wait *= 2
        raise EmbeddingFailed

    async def _attempt(self, texts: Sequence[str], way: Options, patience: Patience) -> "_Reply":
        """A server that cannot be reached or does not end counts as one that is busy."""
        try:
            async with asyncio.timeout(patience.seconds), self._request(texts, way) as response:
                most = 1_000_000 + len(texts) * self._space.dimensions * CHARACTERS_PER_NUMBER
                body = await _body(response, most) if response.status_code == 200 else b""
                return _Reply(response.status_code, body, _seconds_to_wait(response.headers.get("retry-after")))
        except (httpx.TransportError, TimeoutError):
            return _Reply(503)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise EmbeddingFailed from error

    def _request(self, texts: Sequence[str], way: Options) -> AbstractAsyncContextManager[httpx.Response]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._api_key is not None:
            headers["authorization"] = f"Bearer {self._api_key.reveal()}"
        return self._client.stream(
            "POST",
            self._url,
            content=msgspec.json.encode({**self._dialect.request(texts), **way}),
            headers=headers,
            timeout=httpx.Timeout(60, connect=10, pool=10),
            follow_redirects=False,  # they would carry the key to a server nobody chose
        )


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes = b""
    retry_after: float | None = None


def _batches(texts: Sequence[str], most: int) -> list[list[str]]:
    batches: list[list[str]] = []
    room = 0
    for text in texts:
        if not batches or len(batches[-1]) == most or len(text) > room:
            batches.append([])
            room = MOST_CHARACTERS
        batches[-1].append(text)
        room -= len(text)
    return batches


async def _body(response: httpx.Response, most: int) -> bytes:
    """Raises `EmbeddingFailed` when there is no end to it."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > most:
            raise EmbeddingFailed
    return bytes(body)


def _seconds_to_wait(retry_after: str | None) -> float | None:
    """What the header says, in seconds or as a date; None when it says nothing that can be understood."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
