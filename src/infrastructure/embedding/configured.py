"""The embedding models that the configuration names."""

from collections.abc import Collection, Sequence

from llm_backend.application.ports.embedder import Embedder
from llm_backend.domain.errors import ApiKeyRequired, UnknownEmbeddingModel
from llm_backend.domain.knowledge import EmbeddingSpace


class NoEmbedders:
    """Names none: searches go by words alone."""

    def names(self) -> Sequence[str]:
        return []

    def space(self, name: str) -> EmbeddingSpace:
        return self.get(name).space

    def get(self, name: str) -> Embedder:
        """Raises `UnknownEmbeddingModel`."""
        raise UnknownEmbeddingModel(f"{name!r} is not to be used")


class ConfiguredEmbedders:
    """Embedding models by the names of their spaces."""

    def __init__(self, embedders: Sequence[Embedder], *, default: str, keyless: Collection[str] = ()) -> None:
        """`keyless`: names of those that want a key and have none. Raises `UnknownEmbeddingModel` when no embedder has
        the name of the default."""
        self._by_name = {embedder.space.model: embedder for embedder in embedders}
        self._keyless = frozenset(keyless)
        if default not in self._by_name:
            raise UnknownEmbeddingModel
        self._names = [default, *(name for name in self._by_name if name != default)]

    def names(self) -> Sequence[str]:
        return list(self._names)

    def space(self, name: str) -> EmbeddingSpace:
        if name not in self._by_name:
            raise UnknownEmbeddingModel
        return self._by_name[name].space

    def get(self, name: str) -> Embedder:
        if name not in self._by_name:
            raise UnknownEmbeddingModel
        if name in self._keyless:
            raise ApiKeyRequired
        return self._by_name[name]
