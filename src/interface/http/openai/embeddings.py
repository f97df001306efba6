"""`/v1/embeddings`: vectors of texts, by the embedding models of the configuration and by those of providers."""

from array import array
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from litestar import Controller, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from llm_backend.application.embeddings import EmbedTexts, EmbedVerbatim, Vectors
from llm_backend.application.ports.completions import VerbatimRequest
from llm_backend.application.ports.embedder import Vector
from llm_backend.domain import api_keys
from llm_backend.domain.errors import UnknownModel
from llm_backend.interface.http.documentation import SIGNED_IN
from llm_backend.interface.http.openai.auth import good_for
from llm_backend.interface.http.openai.completions import JsonBytes, ModelName
from llm_backend.interface.http.openai.documentation import UPSTREAM, EmbeddingOperation, openai_failures
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.requests import decoded
from llm_backend.interface.http.rest.parameters import Asked

TAGS = ["OpenAI"]
MOST_TEXTS = 2048  # as OpenAI allows

Token = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Tokens = Annotated[list[Token], msgspec.Meta(min_length=1)]

_encode = msgspec.json.Encoder().encode


class EmbeddingIn(msgspec.Struct):
    """`input` is a text, texts, the numbers of tokens, or lists of them."""

    model: ModelName
    input: Text | Annotated[list[Text | Token | Tokens], msgspec.Meta(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None


class EmbeddingOut(msgspec.Struct):
    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsageOut(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsOut(msgspec.Struct):
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsageOut
    object: Literal["list"] = "list"


_VECTORS = {200: ResponseSpec(EmbeddingsOut, generate_examples=False, description="One vector for each text, in order")}


@dataclass(frozen=True, slots=True)
class Embedding:
    """The use cases of this route as one dependency."""

    texts: EmbedTexts
    verbatim: EmbedVerbatim


class EmbeddingsController(Controller):
    path = "/embeddings"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/",
        status_code=200,
        opt=good_for(api_keys.Scope.EMBEDDINGS),
        operation_class=EmbeddingOperation,
        responses=_VECTORS | openai_failures(404, 413, 429, *UPSTREAM),
    )
    async def create(self, embedding: Asked[Embedding], request: OpenAiRequest) -> ASGIApp:
        """Vectors of texts; token numbers mean something to the model's own server, and to the built-in model."""
        body = await request.body()
        asked = decoded(body, EmbeddingIn)
        if embedding.texts.knows(asked.model) and not _has_tokens(asked.input):
            return await _own(embedding.texts, request, asked)
        try:
            reply = await embedding.verbatim(request.access, VerbatimRequest(model=asked.model, content=body))
        except UnknownModel:
            return await _own(embedding.texts, request, asked)
        return JsonBytes(reply.content)


async def _own(embed: EmbedTexts, request: OpenAiRequest, asked: EmbeddingIn) -> JsonBytes:
    texts, are_tokens = texts_in(asked.input), _has_tokens(asked.input)
    vectors = await embed(request.access, asked.model, texts, dimensions=asked.dimensions, are_tokens=are_tokens)
    return JsonBytes(_encode(embeddings_out(vectors, as_base64=asked.encoding_format == "base64")))


def _has_tokens(given: str | Sequence[str | int | list[int]]) -> bool:
    return not isinstance(given, str) and any(not isinstance(part, str) for part in given)


def texts_in(given: str | Sequence[str | int | list[int]]) -> Sequence[str]:
    """One text for each vector that is wanted.

    Which words tokens stand for only their tokenizer knows. To a lexical model any words do, so long as they are the
    same in questions and passages: each number becomes one.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], int):
        return [_as_words([token for token in given if isinstance(token, int)])]
    return [part if isinstance(part, str) else _as_words(part if isinstance(part, list) else [part]) for part in given]


def _as_words(tokens: Sequence[int]) -> str:
    return " ".join(f"t{token}" for token in tokens)


def embeddings_out(vectors: Vectors, *, as_base64: bool) -> EmbeddingsOut:
    encode = _base64 if as_base64 else _floats
    data = [EmbeddingOut(index, encode(vector)) for index, vector in enumerate(vectors.vectors)]
    return EmbeddingsOut(data, vectors.model, EmbeddingUsageOut(vectors.tokens, vectors.tokens))


def _base64(vector: Vector) -> str:
    """Little-endian float32, which is what a vector is."""
    return b64encode(vector).decode()


def _floats(vector: Vector) -> list[float]:
    return array("f", vector).tolist()
