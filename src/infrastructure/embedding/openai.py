"""Any server that speaks the OpenAI API's `/embeddings`. Imported only where one is configured."""

import asyncio
import math
import random
import sys
from array import array
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import msgspec

from llm_backend.application.ports.embedder import Embedded, Vector
from llm_backend.domain.errors import EmbeddingFailed
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.domain.secrets import Secret

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
MOST_CHARACTERS = 100_000  # in one request; servers count tokens, and refuse more than some 300,000 of them
CHARACTERS_PER_NUMBER = 64  # of a reply, with blanks and line ends; what is longer is not read to its end

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a request is tried, in how many seconds each, and how long a server may ask us to wait."""

    attempts: int
    seconds: float
    longest_wait: float


FOR_DOCUMENTS = Patience(attempts=5, seconds=120, longest_wait=60)
FOR_QUERIES = Patience(attempts=2, seconds=10, longest_wait=1)  # somebody waits, and can be answered without a vector


class OpenAiEmbedder:
    """One model of one server. Texts go there in batches, and again after failures that may pass.

    Whatever goes wrong is `EmbeddingFailed`, in whose message there is nothing of the server's words or the key.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        base_url: str,
        model: str,
        space: EmbeddingSpace,
        api_key: Secret | None = None,
        batch: int = 32,
        cosine_weight: float = 0.7,
        related_cosine: float = 0.5,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`model` is what the server calls it, `space.model` what we do. The caller closes the client."""
        self._client = client
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._model = model
        self._space = space
        self._api_key = api_key
        self._batch = batch
        self._cosine_weight = cosine_weight
        self._related_cosine = related_cosine
        self._sleep = sleep
        self._names_dimensions = True

    @property
    def space(self) -> EmbeddingSpace:
        return self._space

    @property
    def cosine_weight(self) -> float:
        return self._cosine_weight

    @property
    def related_cosine(self) -> float:
        return self._related_cosine

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        vectors: list[Vector] = []
        for batch in _batches(texts, self._batch):
            vectors += await self._embed(batch, FOR_DOCUMENTS)
        return Embedded(vectors=vectors)

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:  # noqa: ARG002
        (vector,) = await self._embed([text], FOR_QUERIES)
        return vector

    def summarise(self, statistics: Sequence[bytes]) -> bytes:  # noqa: ARG002
        """Such models know by themselves which words are rare."""
        return b""

    async def _embed(self, texts: Sequence[str], patience: Patience) -> list[Vector]:
        """Blank texts, which servers refuse, get the vector without a length."""
        visible = [text for text in texts if text.strip()]
        vectors = iter(await self._asked(visible, patience) if visible else [])
        nowhere = bytes(4 * self._space.dimensions)
        return [next(vectors) if text.strip() else nowhere for text in texts]

    async def _asked(self, texts: Sequence[str], patience: Patience) -> list[Vector]:
        wait = 0.5
        for attempt in range(1, patience.attempts + 1):
            reply = await self._attempt(texts, patience)
            if reply.status == 200:
                return _vectors(reply.body, len(texts), self._space.dimensions)
            if reply.status in {400, 422} and self._names_dimensions:
                self._names_dimensions = False  # models of one size may refuse to be told it
                continue
            jittered = wait * random.uniform(0.5, 1)  # noqa: S311 - no secret
            asked_to_wait = jittered if reply.retry_after is None else reply.retry_after
            if reply.status not in RETRIED or attempt == patience.attempts or asked_to_wait > patience.longest_wait:
                break
            await self._sleep(asked_to_wait)
            wait *= 2
        raise EmbeddingFailed

    async def _attempt(self, texts: Sequence[str], patience: Patience) -> "_Reply":
        """A server that cannot be reached or does not end counts as one that is busy."""
        try:
            async with asyncio.timeout(patience.seconds), self._request(texts) as response:
                most = 1_000_000 + len(texts) * self._space.dimensions * CHARACTERS_PER_NUMBER
                body = await _body(response, most) if response.status_code == 200 else b""
                return _Reply(response.status_code, body, _seconds_to_wait(response.headers.get("retry-after")))
        except (httpx.TransportError, TimeoutError):
            return _Reply(503)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise EmbeddingFailed from error

    def _request(self, texts: Sequence[str]) -> AbstractAsyncContextManager[httpx.Response]:
        body: dict[str, object] = {"model": self._model, "input": texts, "encoding_format": "float"}
        if self._names_dimensions:
            body["dimensions"] = self._space.dimensions
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._api_key is not None:
            headers["authorization"] = f"Bearer {self._api_key.reveal()}"
        return self._client.stream(
            "POST",
            self._url,
            content=msgspec.json.encode(body),
            headers=headers,
            timeout=httpx.Timeout(60, connect=10, pool=10),
            follow_redirects=False,  # they would carry the key to a server nobody chose
        )


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes = b""
    retry_after: float | None = None


class _Entry(msgspec.Struct):
    """One vector, and which of the texts it belongs to; servers that do not say so keep the order."""

    embedding: list[float]
    index: int | None = None


class _Entries(msgspec.Struct):
    data: list[_Entry]


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


def _vectors(body: bytes, count: int, dimensions: int) -> list[Vector]:
    try:
        entries = msgspec.json.decode(body, type=_Entries).data
    except msgspec.DecodeError as error:
        raise EmbeddingFailed from error
    placed = {index if entry.index is None else entry.index: entry.embedding for index, entry in enumerate(entries)}
    if len(entries) != count or placed.keys() != set(range(count)):
        raise EmbeddingFailed("The embedding model's server returned another number of vectors than it was asked for")
    return [_unit(placed[index], dimensions) for index in range(count)]


def _unit(numbers: list[float], dimensions: int) -> Vector:
    if len(numbers) != dimensions:
        raise EmbeddingFailed("The embedding model's server returned vectors of another size than is configured")
    length = math.hypot(*numbers)
    if not math.isfinite(length):
        raise EmbeddingFailed("The embedding model's server returned numbers that are none")
    vector = array("f", (number / length for number in numbers) if length else numbers)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tobytes()


def _seconds_to_wait(retry_after: str | None) -> float | None:
    """What the header says, in seconds or as a date; None when it says nothing that can be understood."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
