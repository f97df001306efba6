"""Any server that speaks the OpenAI API's `/embeddings`. Imported only where one is configured."""

import binascii
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_backend.domain.errors import EmbeddingFailed
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.remote import Options, RemoteEmbedder
from llm_backend.infrastructure.embedding.vectors import floats


class OpenAiEmbedder(RemoteEmbedder):
    """`model` is what the server calls it, `space.model` what we do."""

    def __init__(self, *, model: str, space: EmbeddingSpace, **options: Any) -> None:
        """`options` are those of `RemoteEmbedder`."""
        super().__init__(dialect=OpenAiDialect(model, space.dimensions), space=space, **options)


@dataclass(frozen=True, slots=True)
class OpenAiDialect:
    """Models of one size may refuse to be told it, so that is tried without as well."""

    model: str
    dimensions: int
    path: str = "embeddings"

    @property
    def ways(self) -> Sequence[Options]:
        return [{"dimensions": self.dimensions}, {}]

    def request(self, texts: Sequence[str]) -> Options:
        return {"model": self.model, "input": texts, "encoding_format": "float"}

    def numbers(self, body: bytes, count: int) -> Sequence[Sequence[float]]:
        try:
            entries = msgspec.json.decode(body, type=_Entries).data
            placed = {index if one.index is None else one.index: _numbers(one) for index, one in enumerate(entries)}
        except (ValueError, RecursionError) as error:
            raise EmbeddingFailed from error
        if len(entries) != count or placed.keys() != set(range(count)):
            raise EmbeddingFailed("The embedding model's server returned another number of vectors than was asked for")
        return [placed[index] for index in range(count)]


class _Entry(msgspec.Struct):
    """One vector, and which of the texts it belongs to; servers that do not say so keep the order. Some answer in
    base64, whatever they were asked for."""

    embedding: list[float] | str
    index: int | None = None


class _Entries(msgspec.Struct):
    data: list[_Entry]


def _numbers(entry: _Entry) -> Sequence[float]:
    """Raises `ValueError`."""
    if not isinstance(entry.embedding, str):
        return entry.embedding
    try:
        return floats(b64decode(entry.embedding, validate=True))
    except binascii.Error as error:
        raise ValueError from error
