"""The embedding models that the configuration names."""

from collections.abc import Sequence

from llm_backend.application.ports.embedder import Embedder
from llm_backend.domain.errors import UnknownEmbeddingModel


class NoEmbedders:
    """As if the configuration named none any more: searches go by words alone."""

    def names(self) -> Sequence[str]:
        return []

    def get(self, name: str) -> Embedder:
        """Raises `UnknownEmbeddingModel`."""
        raise UnknownEmbeddingModel(f"{name!r} is not to be used")


class ConfiguredEmbedders:
    """Embedding models by the names of their spaces."""

    def __init__(self, embedders: Sequence[Embedder], *, default: str) -> None:
        """Raises `UnknownEmbeddingModel` when no embedder has the name of the default."""
        self._by_name = {embedder.space.model: embedder for embedder in embedders}
        first = self.get(default)
        self._names = [default, *(name for name in self._by_name if self._by_name[name] is not first)]

    def names(self) -> Sequence[str]:
        """The default first."""
        return list(self._names)

    def get(self, name: str) -> Embedder:
        """Raises `UnknownEmbeddingModel`."""
        try:
            return self._by_name[name]
        except KeyError as error:
            raise UnknownEmbeddingModel from error
