"""Models in this process."""

from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

from llm_backend.application.ports.embedder import Embedder
from llm_backend.domain.errors import EmbeddingFailed, EmbeddingModelMissing
from llm_backend.domain.knowledge import EmbeddingSpace
from llm_backend.infrastructure.embedding.local import OnnxEmbedder
from llm_backend.testing.contracts.embedder import TEXTS, EmbedderContract, cosine
from tests.adapters.embedding.onnx_models import DIMENSIONS, make_model


def an_embedder(
    folder: Path, *, dimensions: int = DIMENSIONS, max_tokens: int = 512, mean: bool = True
) -> OnnxEmbedder:
    return OnnxEmbedder(
        model=folder / "onnx" / "model.onnx",
        tokenizer=folder / "tokenizer.json",
        space=EmbeddingSpace(model="tiny", dimensions=dimensions),
        max_tokens=max_tokens,
        mean=mean,
    )


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    make_model(tmp_path)
    return an_embedder(tmp_path)


class TestOnnxEmbedder(EmbedderContract):
    pass


async def test_padding_beside_longer_texts_changes_nothing(embedder: Embedder) -> None:
    short, long = "fox", "the quick brown fox " * 20

    together = (await embedder.embed_document([long, short])).vectors

    assert cosine(together[1], await embedder.embed_query(short)) == pytest.approx(1.0, abs=1e-5)


async def test_what_is_too_long_is_cut_off(tmp_path: Path) -> None:
    make_model(tmp_path)
    embedder = an_embedder(tmp_path, max_tokens=10)

    one, other = (await embedder.embed_document(["12345678 and more", "12345678 or less"])).vectors

    assert one == other


async def test_a_model_may_have_its_pooling_built_in(tmp_path: Path) -> None:
    make_model(tmp_path, pooled=True)

    assert len((await an_embedder(tmp_path).embed_document(TEXTS)).vectors) == len(TEXTS)


async def test_the_first_token_may_speak_for_the_text(tmp_path: Path) -> None:
    make_model(tmp_path)

    one, other = (await an_embedder(tmp_path, mean=False).embed_document(TEXTS[:2])).vectors

    assert one == other  # in so small a model it knows nothing of the others


async def test_a_model_that_is_not_there_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingModelMissing, match="llm-backend models pull tiny"):
        await an_embedder(tmp_path).embed_query("hello")


async def test_a_model_of_another_size_than_is_configured_is_refused(tmp_path: Path) -> None:
    make_model(tmp_path)

    with pytest.raises(EmbeddingFailed, match="another size"):
        await an_embedder(tmp_path, dimensions=8).embed_query("hello")


async def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    make_model(tmp_path, broken=True)

    with pytest.raises(EmbeddingFailed):
        await an_embedder(tmp_path).embed_query("hello")


async def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    make_model(tmp_path)
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"no model")

    with pytest.raises(EmbeddingFailed, match="could not be run"):
        await an_embedder(tmp_path).embed_query("hello")
