"""Models in this process, from files that `llm-backend models pull` has brought. Nothing is downloaded here."""

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from llm_backend.application.ports.embedder import Embedded, Vector
from llm_backend.domain.errors import EmbeddingFailed, EmbeddingModelMissing
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.semantic import SemanticEmbedder
from llm_backend.infrastructure.embedding.texts import Wording
from llm_backend.infrastructure.embedding.vectors import nowhere, unit

BATCH = 16  # texts; more need more memory and are no faster on a processor

Model = Callable[[Sequence[str]], Sequence[Sequence[float]]]


class OnnxEmbedder(SemanticEmbedder):
    """One model, loaded at the first use and kept. One batch at a time: each uses all `threads` that it may."""

    def __init__(
        self,
        *,
        model: Path,
        tokenizer: Path,
        space: EmbeddingSpace,
        max_tokens: int = 512,
        mean: bool = True,
        threads: int = 2,
        wording: Wording | None = None,
        cosine_weight: float = 0.7,
        related_cosine: float = 0.5,
    ) -> None:
        """`max_tokens` of a text are read, the rest is cut off."""
        super().__init__(space=space, wording=wording, cosine_weight=cosine_weight, related_cosine=related_cosine)
        self._files = model, tokenizer
        self._max_tokens = max_tokens
        self._mean = mean
        self._threads = threads
        self._model: Model | None = None
        self._turn = asyncio.Lock()

    async def embed_document(self, texts: Sequence[str]) -> Embedded:
        """Raises `EmbeddingModelMissing` too."""
        return Embedded(vectors=await self._embed([self._wording.of_document(text) for text in texts]))

    async def embed_query(self, text: str, corpus: bytes | None = None) -> Vector:  # noqa: ARG002
        """Raises `EmbeddingModelMissing` too."""
        (vector,) = await self._embed([self._wording.of_query(text)])
        return vector

    async def _embed(self, texts: Sequence[str]) -> list[Vector]:
        """Texts of like length together, so that little is padded."""
        vectors = [nowhere(self._space.dimensions)] * len(texts)
        visible = sorted((index for index, text in enumerate(texts) if text.strip()), key=lambda one: len(texts[one]))
        for first in range(0, len(visible), BATCH):
            batch = visible[first : first + BATCH]
            for index, numbers in zip(batch, await self._run([texts[one] for one in batch]), strict=True):
                vectors[index] = unit(numbers, self._space.dimensions)
        return vectors

    async def _run(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        async with self._turn:
            try:
                if self._model is None:
                    self._model = await asyncio.to_thread(self._load)
                return await asyncio.to_thread(self._model, texts)
            except EmbeddingFailed:
                raise
            except Exception as error:  # whatever the libraries raise, they have no classes of their own for it
                raise EmbeddingFailed("The embedding model could not be run") from error

    def _load(self) -> Model:
        model, tokenizer = self._files
        if not (model.is_file() and tokenizer.is_file()):
            raise EmbeddingModelMissing(
                "The embedding model has not been downloaded; on the server, run: "
                f"llm-backend models pull {self._space.model}"
            )
        try:
            module = import_module("llm_backend.infrastructure.embedding.onnx_model")
        except ImportError as error:
            raise EmbeddingModelMissing(
                "Local embedding models need the extra: pip install 'llm-backend-api[local]'"
            ) from error
        loaded: Model = module.OnnxModel(
            model, tokenizer, max_tokens=self._max_tokens, mean=self._mean, threads=self._threads
        )
        return loaded
