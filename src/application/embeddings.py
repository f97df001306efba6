"""Vectors of texts, for clients that keep them elsewhere."""

import math
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from llm_backend.application.ports.completions import Completions, VerbatimReply, VerbatimRequest
from llm_backend.application.ports.embedder import Embedders, Vector
from llm_backend.application.usage import RecordUsage
from llm_backend.domain.api_keys import Access
from llm_backend.domain.conversations import TokenUsage
from llm_backend.domain.errors import (
    InvalidDimensions,
    TokensNotUnderstood,
    UnknownEmbeddingModel,
    UnknownModel,
)
from llm_backend.domain.usage import UsageKind
from llm_backend.domain.window import estimated_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """One for each text, in order, and the tokens of all."""

    model: str
    vectors: Sequence[Vector]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedTexts:
    """Vectors by an embedding model of the configuration, the built-in one included."""

    embedders: Embedders
    record: RecordUsage

    def knows(self, model: str) -> bool:
        """Whether the configuration names it, which goes before a provider's pattern that happens to match."""
        return model in self.embedders.names()

    async def __call__(
        self,
        access: Access,
        model: str,
        texts: Sequence[str],
        *,
        dimensions: int | None = None,
        are_tokens: bool = False,
    ) -> Vectors:
        """`are_tokens`: some of the texts stand for numbers of tokens. With fewer `dimensions` than the model has,
        vectors are cut and brought back to length 1, as models that are made for that expect. Raises
        `UnknownModel`, `ApiKeyRequired`, `TokensNotUnderstood`, `InvalidDimensions` or `EmbeddingFailed`."""
        try:
            embedder = self.embedders.get(model)
        except UnknownEmbeddingModel as error:
            raise UnknownModel from error
        if are_tokens and not embedder.is_lexical:
            raise TokensNotUnderstood
        if dimensions is not None and not 1 <= dimensions <= embedder.space.dimensions:
            raise InvalidDimensions
        vectors = (await embedder.embed_document(texts)).vectors
        if dimensions is not None and dimensions < embedder.space.dimensions:
            vectors = [_cut(vector, dimensions) for vector in vectors]
        tokens = sum(map(estimated_tokens, texts))
        used = TokenUsage(prompt=tokens, completion=0)
        self.record(access, UsageKind.EMBEDDINGS, model, used, is_estimated=True)
        return Vectors(model=model, vectors=vectors, tokens=tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedVerbatim:
    """Vectors by a provider, which is asked in the client's words."""

    completions: Completions
    record: RecordUsage

    async def __call__(self, access: Access, request: VerbatimRequest) -> VerbatimReply:
        """Raises what `Completions` raises."""
        reply = await self.completions.embed(request)
        self.record(access, UsageKind.EMBEDDINGS, reply.model, reply.usage, is_estimated=reply.is_estimated)
        return reply


def _cut(vector: Vector, dimensions: int) -> Vector:
    numbers = array("f", vector[: 4 * dimensions])
    if sys.byteorder == "big":
        numbers.byteswap()
    length = math.hypot(*numbers)
    cut = array("f", (number / length for number in numbers)) if length else numbers
    if sys.byteorder == "big":
        cut.byteswap()
    return cut.tobytes()
