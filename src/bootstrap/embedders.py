"""Configured embedding models become embedders, and their files are brought from the hub."""

import logging
import sys
from contextlib import AsyncExitStack

from httpx import AsyncClient, Client, Timeout

from llm_backend.application.ports.embedder import Embedder, Embedders
from llm_backend.config import EmbeddingModel, Settings
from llm_backend.domain.errors import UnknownEmbeddingModel
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.infrastructure.embedding.hub import ModelFiles, is_pulled, pull
from llm_backend.infrastructure.embedding.texts import Wording
from llm_backend.infrastructure.files.folders import make_private
from llm_backend.infrastructure.llm.client import provider_client

MEBIBYTE = 1024 * 1024

logger = logging.getLogger(__name__)


def open_embedders(settings: Settings, stack: AsyncExitStack) -> Embedders:
    """The lexical one, which is built in, and those that are configured. Nothing is downloaded or loaded yet."""
    embedders: list[Embedder] = [HashEmbedder()]
    embedders += [_local(settings, model) for model in settings.rag.embedding_models if model.kind == "local"]
    if remote := [model for model in settings.rag.embedding_models if model.kind != "local"]:
        client = provider_client()
        stack.push_async_callback(client.aclose)
        embedders += [_remote(model, client) for model in remote]
    default = settings.rag.default_embedding_model
    keyless = {model.name for model in settings.rag.embedding_models if model.lacks_key}
    if default in keyless:
        logger.warning("the default embedding model has no key: nothing can be uploaded that is to be embedded by it")
    return ConfiguredEmbedders(_in_order(settings, embedders), default=default, keyless=keyless)


def _in_order(settings: Settings, embedders: list[Embedder]) -> list[Embedder]:
    places = {model.name: place for place, model in enumerate(settings.rag.embedding_models)}
    return sorted(embedders, key=lambda embedder: places.get(embedder.space.model, -1))


def _remote(model: EmbeddingModel, client: AsyncClient) -> Embedder:
    from llm_backend.infrastructure.embedding.ollama import OllamaEmbedder
    from llm_backend.infrastructure.embedding.openai import OpenAiEmbedder

    kind = OllamaEmbedder if model.kind == "ollama" else OpenAiEmbedder
    return kind(
        client=client,
        base_url=model.base_url or "",
        model=model.model,
        space=_space(model),
        api_key=None if model.lacks_key else model.api_key,
        batch=model.batch,
        wording=_wording(model),
    )


def _local(settings: Settings, model: EmbeddingModel) -> Embedder:
    from llm_backend.infrastructure.embedding.local import OnnxEmbedder

    files = _files(model)
    if not is_pulled(files, settings.models_folder):
        logger.warning("an embedding model has not been downloaded; run: llm-backend models pull %s", model.name)
    folder = files.folder(settings.models_folder)
    return OnnxEmbedder(
        model=folder / files.model,
        tokenizer=folder / files.tokenizer,
        space=_space(model),
        max_tokens=model.onnx.max_tokens,
        mean=model.onnx.pooling == "mean",
        threads=settings.rag.model_threads,
        wording=_wording(model),
    )


def _space(model: EmbeddingModel) -> EmbeddingSpace:
    return EmbeddingSpace(model=model.name, dimensions=model.dimensions)


def _wording(model: EmbeddingModel) -> Wording:
    return Wording(query_prefix=model.query_prefix, document_prefix=model.document_prefix, longest=model.max_characters)


def _files(model: EmbeddingModel) -> ModelFiles:
    return ModelFiles(
        repository=model.model,
        revision=model.onnx.revision,
        model=model.onnx.model,
        tokenizer=model.onnx.tokenizer,
        others=model.onnx.others,
        sha256={model.onnx.model: model.onnx.model_sha256} if model.onnx.model_sha256 else {},
    )


# Commands ------------------------------------------------------------------------------------------------------------


def pull_model(settings: Settings, name: str) -> None:
    """Download a local embedding model. Raises `UnknownEmbeddingModel`, `ModelNotPulled` or `OSError`."""
    found = [model for model in _local_models(settings) if model.name == name]
    if not found:
        known = ", ".join(model.name for model in _local_models(settings)) or "none is configured"
        raise UnknownEmbeddingModel(f"{name!r} is no local embedding model; those that are: {known}")
    make_private(settings.models_folder)
    files = _files(found[0])
    with Client(timeout=Timeout(60, connect=10)) as client:
        pulled = pull(files, settings.models_folder, hub=settings.rag.model_hub, client=client, tell=_tell)
    folder = files.folder(settings.models_folder)
    sys.stdout.write(f"{name} is in {folder} now.\n" if pulled else f"{name} is in {folder} already.\n")


def list_models(settings: Settings) -> None:
    """Say of each embedding model where it runs; of a local one, whether it is there."""
    lines = [f"{settings_name}  {where}" for settings_name, where in _places(settings)]
    sys.stdout.write("\n".join(lines) + "\n")


def _places(settings: Settings) -> list[tuple[str, str]]:
    places = [("hash-1024", "built in")]
    for model in settings.rag.embedding_models:
        where = f"{model.kind}, at {model.base_url}{', has no key' if model.lacks_key else ''}"
        if model.kind == "local":
            there = is_pulled(_files(model), settings.models_folder)
            where = "local, downloaded" if there else f"local, missing: llm-backend models pull {model.name}"
        places.append((model.name, where))
    return places


def _local_models(settings: Settings) -> list[EmbeddingModel]:
    return [model for model in settings.rag.embedding_models if model.kind == "local"]


def _tell(file: str, size: int, total: int | None) -> None:
    """One line for each file, which grows on a terminal."""
    if sys.stdout.isatty() or size == total:
        of = f" of {total / MEBIBYTE:.1f}" if total else ""
        end = "\n" if size == total else "\r"
        sys.stdout.write(f"  {file}  {size / MEBIBYTE:.1f}{of} MiB{end}")
        sys.stdout.flush()
