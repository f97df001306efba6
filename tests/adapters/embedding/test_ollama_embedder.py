"""Models that an Ollama server runs."""

import json
import zlib

import httpx
import pytest

from llm_backend.application.ports.embedder import Embedder
from llm_backend.domain.errors import EmbeddingFailed
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.ollama import OllamaEmbedder
from llm_backend.testing.contracts.embedder import EmbedderContract


class Ollama:
    """Answers as version 0.5 and newer do: unit vectors in the order of the texts, without numbers."""

    def __init__(self, reply: httpx.Response | None = None) -> None:
        self.reply = reply
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.reply is not None:
            return self.reply
        texts = json.loads(request.content)["input"]
        return httpx.Response(200, json={"model": "bge-m3", "embeddings": [_numbers(text) for text in texts]})

    def embedder(self) -> OllamaEmbedder:
        return OllamaEmbedder(
            client=httpx.AsyncClient(transport=httpx.MockTransport(self)),
            base_url="http://127.0.0.1:11434",
            model="bge-m3",
            space=EmbeddingSpace(model="ours", dimensions=8),
        )


def _numbers(text: str) -> list[float]:
    return [1.0 + (zlib.crc32(f"{text}{number}".encode()) % 100) for number in range(8)]


@pytest.fixture
def embedder() -> Embedder:
    return Ollama().embedder()


class TestOllamaEmbedder(EmbedderContract):
    pass


async def test_the_request_is_what_ollama_expects() -> None:
    server = Ollama()

    await server.embedder().embed_query("hello")

    (request,) = server.requests
    assert str(request.url) == "http://127.0.0.1:11434/api/embed"
    assert json.loads(request.content) == {"model": "bge-m3", "input": ["hello"], "truncate": True, "dimensions": 8}


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(404, json={"error": 'model "bge-m3" not found, try pulling it first'}),
        httpx.Response(200, json={"embeddings": []}),
        httpx.Response(200, json={"embeddings": [[1.0] * 8, [1.0] * 8]}),
        httpx.Response(200, json={"embeddings": [[1.0] * 7]}),
        httpx.Response(200, json={"embeddings": [[0.0] * 8]}),
        httpx.Response(200, json={"embedding": [1.0] * 8}),
        httpx.Response(200, text="not JSON"),
        httpx.Response(200, content=b'{"embeddings":[],"load_duration":' + b"[" * 100_000),
    ],
    ids=["no such model", "none", "too many", "too short", "nowhere", "another key", "no JSON", "too deep"],
)
async def test_a_reply_that_makes_no_sense_is_a_failure_that_tells_nothing(reply: httpx.Response) -> None:
    with pytest.raises(EmbeddingFailed) as failure:
        await Ollama(reply).embedder().embed_query("hello")

    assert "pulling" not in str(failure.value)
