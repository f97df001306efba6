"""Any server with a `/rerank` as Jina, Cohere or text-embeddings-inference speak it. Imported only where configured."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import isfinite
from typing import Any

import httpx
import msgspec

from llm_backend.domain.errors import RerankingFailed
from llm_backend.domain.secrets import Secret

LARGEST_REPLY = 1_000_000  # bytes; an entry has some 50, unless the server repeats the text
LONGEST_TEXT = 8000  # characters of one passage; what models do not read they cut off, or refuse


class Dialect(StrEnum):
    """How servers want to be asked. vLLM, Infinity and LocalAI speak as Jina does."""

    JINA = "jina"
    COHERE = "cohere"
    TEI = "tei"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReranker:
    """One model of one server. A single attempt: whoever waits can be answered without it.

    Whatever goes wrong is `RerankingFailed`, in whose message there is nothing of the server's words or the key.
    """

    client: httpx.AsyncClient  # the caller closes it
    base_url: str
    dialect: Dialect
    model: str | None = None
    api_key: Secret | None = None
    depth: int = 30
    timeout: timedelta = timedelta(seconds=5)

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        if not texts:
            return []
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                body = await self._asked(query, [text[:LONGEST_TEXT] for text in texts])
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError) as error:
            raise RerankingFailed from error
        return _scores(body, len(texts))

    async def _asked(self, query: str, texts: Sequence[str]) -> bytes:
        async with self.client.stream(
            "POST",
            f"{self.base_url.rstrip('/')}/rerank",
            content=msgspec.json.encode(self._question(query, texts)),
            headers=self._headers(),
            timeout=self.timeout.total_seconds(),
            follow_redirects=False,  # they would carry the key to a server nobody chose
        ) as response:
            if response.status_code != 200:
                raise RerankingFailed
            return await _body(response)

    def _question(self, query: str, texts: Sequence[str]) -> dict[str, Any]:
        if self.dialect is Dialect.TEI:
            return {"query": query, "texts": texts, "raw_scores": False, "truncate": True}
        asked: dict[str, Any] = {"model": self.model, "query": query, "documents": texts, "top_n": len(texts)}
        return asked if self.dialect is Dialect.COHERE else {**asked, "return_documents": False}

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key.reveal()}"
        return headers


class _Entry(msgspec.Struct):
    """`relevance_score` says Jina, and Cohere; `score` says TEI."""

    index: int
    relevance_score: float | None = None
    score: float | None = None

    @property
    def value(self) -> float:
        value = self.score if self.relevance_score is None else self.relevance_score
        if value is None or not isfinite(value):
            raise RerankingFailed
        return min(max(value, 0.0), 1.0)


class _Entries(msgspec.Struct):
    results: list[_Entry]


async def _body(response: httpx.Response) -> bytes:
    """Raises `RerankingFailed` when there is no end to it."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LARGEST_REPLY:
            raise RerankingFailed
    return bytes(body)


def _scores(body: bytes, count: int) -> list[float]:
    """Raises `RerankingFailed` unless there is exactly one score for each text."""
    try:
        decoded = msgspec.json.decode(body, type=_Entries | list[_Entry])
    except (ValueError, RecursionError) as error:
        raise RerankingFailed from error
    entries = decoded.results if isinstance(decoded, _Entries) else decoded
    scores = {entry.index: entry.value for entry in entries}
    if len(entries) != count or scores.keys() != set(range(count)):
        raise RerankingFailed
    return [scores[index] for index in range(count)]
