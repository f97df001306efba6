"""What all embedders have in common whose models know meanings, wherever those run."""

from collections.abc import Sequence

from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.texts import Wording


class SemanticEmbedder:
    """How a model is to be spoken to and believed."""

    def __init__(
        self,
        *,
        space: EmbeddingSpace,
        wording: Wording | None = None,
        cosine_weight: float = 0.7,
        related_cosine: float = 0.5,
    ) -> None:
        self._space = space
        self._wording = wording or Wording()
        self._cosine_weight = cosine_weight
        self._related_cosine = related_cosine

    @property
    def space(self) -> EmbeddingSpace:
        return self._space

    @property
    def cosine_weight(self) -> float:
        return self._cosine_weight

    @property
    def related_cosine(self) -> float:
        return self._related_cosine

    @property
    def is_lexical(self) -> bool:
        return False

    def summarise(self, statistics: Sequence[bytes]) -> bytes:  # noqa: ARG002
        """Such models know by themselves which words are rare."""
        return b""
