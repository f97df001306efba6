import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from llm_backend.application.ports.reranker import Reranker
from llm_backend.domain.errors import RerankingFailed
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.reranking.http import Dialect, HttpReranker
from llm_backend.testing.contracts.reranker import RerankerContract

KEY = "sk-very-secret"


class Server:
    """Scores by length, best first, in the words of a dialect; or answers with what it was told to."""

    def __init__(self, dialect: Dialect, reply: httpx.Response | Exception | None = None) -> None:
        self.dialect = dialect
        self.reply = reply
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply or httpx.Response(200, json=self.scored(json.loads(request.content)))

    def scored(self, asked: dict[str, Any]) -> Any:
        is_tei = self.dialect is Dialect.TEI
        lengths = enumerate(len(text) for text in asked["texts" if is_tei else "documents"])
        name = "score" if is_tei else "relevance_score"
        entries = [{"index": index, name: length / 100} for index, length in lengths]
        entries.sort(key=lambda entry: -entry[name])
        return entries if is_tei else {"id": "1", "results": entries, "meta": {}}

    def reranker(self, **options: Any) -> HttpReranker:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self))
        address = "https://models.example/v1/"
        return HttpReranker(client=client, base_url=address, dialect=self.dialect, model="theirs", **options)


@pytest.fixture(params=list(Dialect))
def server(request: pytest.FixtureRequest) -> Server:
    return Server(request.param)


@pytest.fixture
def reranker(server: Server) -> Reranker:
    return server.reranker()


class TestHttpReranker(RerankerContract):
    pass


async def test_scores_come_back_in_the_order_of_the_texts(server: Server) -> None:
    assert await server.reranker().rerank("q", ["a" * 30, "a" * 10, "a" * 20]) == [0.3, 0.1, 0.2]


@pytest.mark.parametrize(
    ("dialect", "asked"),
    [
        (Dialect.JINA, {"model": "theirs", "query": "q", "documents": ["a"], "top_n": 1, "return_documents": False}),
        (Dialect.COHERE, {"model": "theirs", "query": "q", "documents": ["a"], "top_n": 1}),
        (Dialect.TEI, {"query": "q", "texts": ["a"], "raw_scores": False, "truncate": True}),
    ],
)
async def test_the_request_is_what_such_servers_expect(dialect: Dialect, asked: object) -> None:
    server = Server(dialect)

    await server.reranker(api_key=Secret(KEY)).rerank("q", ["a"])

    (request,) = server.requests
    assert str(request.url) == "https://models.example/v1/rerank"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(request.content) == asked


REPLIES: list[httpx.Response | Exception] = [
    httpx.Response(500),
    httpx.Response(401, text=KEY),
    httpx.Response(302, headers={"location": "https://elsewhere.example"}),
    httpx.Response(200, text="<html>"),
    httpx.Response(200, text="[" * 100_000),
    httpx.Response(200, json={"results": []}),
    httpx.Response(200, json={"results": [{"index": 0, "relevance_score": 1.0}] * 2}),
    httpx.Response(200, json={"results": [{"index": n, "relevance_score": 1.0} for n in (1, 2)]}),
    httpx.Response(200, json={"results": [{"index": n} for n in (0, 1)]}),
    httpx.Response(200, text='[{"index": 0, "score": 1e999}, {"index": 1, "score": 1}]'),
    httpx.Response(200, content=b" " * 2_000_000),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
]


@pytest.mark.parametrize(
    "reply", REPLIES, ids=lambda reply: f"{type(reply).__name__} {getattr(reply, 'status_code', '')}"
)
async def test_whatever_goes_wrong_is_one_error_that_tells_no_secret(reply: httpx.Response | Exception) -> None:
    server = Server(Dialect.JINA, reply)

    with pytest.raises(RerankingFailed) as failure:
        await server.reranker(api_key=Secret(KEY)).rerank("q", ["a", "b"])

    assert KEY not in str(failure.value)
    assert len(server.requests) == 1


async def test_scores_outside_of_the_scale_are_put_onto_its_ends() -> None:
    body = [{"index": 0, "score": 7.5}, {"index": 1, "score": -3}]

    assert await Server(Dialect.TEI, httpx.Response(200, json=body)).reranker().rerank("q", ["a", "b"]) == [1.0, 0.0]


async def test_patience_ends() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    client = httpx.AsyncClient(transport=httpx.MockTransport(never))
    reranker = HttpReranker(
        client=client, base_url="https://m.example", dialect=Dialect.TEI, timeout=timedelta(milliseconds=10)
    )

    with pytest.raises(RerankingFailed):
        await reranker.rerank("q", ["a"])
