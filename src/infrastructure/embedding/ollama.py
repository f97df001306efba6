"""Models that an Ollama server runs, by its own `/api/embed`. Imported only where one is configured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_backend.domain.errors import EmbeddingFailed
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.remote import Options, RemoteEmbedder


class OllamaEmbedder(RemoteEmbedder):
    """`model` is what `ollama list` calls it, `space.model` what we do. The server pulls nothing by being asked."""

    def __init__(self, *, model: str, space: EmbeddingSpace, **options: Any) -> None:
        """`options` are those of `RemoteEmbedder`; the base URL has no `/v1`."""
        super().__init__(dialect=OllamaDialect(model, space.dimensions), space=space, **options)


@dataclass(frozen=True, slots=True)
class OllamaDialect:
    """It cuts off what is too long for the model by itself. Older versions do not know `dimensions`, and ignore it."""

    model: str
    dimensions: int
    path: str = "api/embed"

    @property
    def ways(self) -> Sequence[Options]:
        return [{"dimensions": self.dimensions}, {}]

    def request(self, texts: Sequence[str]) -> Options:
        return {"model": self.model, "input": texts, "truncate": True}

    def numbers(self, body: bytes, count: int) -> Sequence[Sequence[float]]:
        try:
            found = msgspec.json.decode(body, type=_Embeddings).embeddings
        except (ValueError, RecursionError) as error:
            raise EmbeddingFailed from error
        if len(found) != count:
            raise EmbeddingFailed("The embedding model's server returned another number of vectors than was asked for")
        return found


class _Embeddings(msgspec.Struct):
    embeddings: list[list[float]]
