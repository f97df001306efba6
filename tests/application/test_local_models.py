"""An embedding model in this process: configured, downloaded by a command, used."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")

from llm_backend import open_backend
from llm_backend.cli import main
from llm_backend.config import Settings
from llm_backend.domain.errors import EmbeddingModelMissing
from llm_backend.infrastructure.memory.store import MemoryStore
from tests.adapters.embedding.onnx_models import DIMENSIONS, make_model

CONFIGURATION = """
data_folder: {folder}/data
rag:
  model_hub: {hub}
  default_embedding_model: tiny
  embedding_models:
    - {{name: tiny, kind: local, model: owner/tiny, dimensions: {dimensions}}}
    - {{name: gone, kind: local, model: owner/gone, dimensions: {dimensions}}}
    - {{name: bge-m3, kind: ollama, base_url: "http://127.0.0.1:11434", model: bge-m3, dimensions: 1024}}
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def a_hub(folder: Path) -> Iterator[str]:
    """With one model in it."""
    make_model(folder / "owner" / "tiny" / "resolve" / "main")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def configuration(tmp_path: Path) -> Iterator[Path]:
    with a_hub(tmp_path / "hub") as hub:
        file = tmp_path / "config.yaml"
        file.write_text(CONFIGURATION.format(folder=tmp_path, hub=hub, dimensions=DIMENSIONS))
        yield file


def command(configuration: Path, *words: str) -> int:
    return main(["models", *words, "--config", str(configuration)])


def test_a_model_is_downloaded_by_a_command(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(configuration, "list") == 0
    before = capsys.readouterr().out

    assert command(configuration, "pull", "tiny") == 0
    assert command(configuration, "pull", "tiny") == 0
    pulled = capsys.readouterr().out
    assert command(configuration, "list") == 0
    after = capsys.readouterr().out

    assert "tiny  local, missing: llm-backend models pull tiny" in before
    assert "hash-1024  built in" in before
    assert "bge-m3  ollama, at http://127.0.0.1:11434" in before
    assert "is in" in pulled
    assert "already" in pulled
    assert "tiny  local, downloaded" in after


@pytest.mark.parametrize("name", ["gone", "bge-m3", "unheard-of"])
def test_what_cannot_be_downloaded_says_why(configuration: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert command(configuration, "pull", name) == 1

    told = capsys.readouterr().err
    assert "404" in told if name == "gone" else "tiny, gone" in told


async def test_what_was_downloaded_embeds_documents(configuration: Path, tmp_path: Path) -> None:
    await asyncio.to_thread(command, configuration, "pull", "tiny")
    document = tmp_path / "notes.txt"
    document.write_text("The quick brown fox.\n")

    async with open_backend(Settings.from_file(configuration), store=MemoryStore()) as backend:
        ada = await backend.register_user("ada", "correct horse")
        shelf = await backend.create_knowledge_base(ada, "Shelf")
        await backend.upload_document(ada, shelf.id, document, "notes.txt")
        found = await backend.retrieve(ada, shelf.id, "a fox", explain=True)

    assert shelf.space.model == "tiny"
    assert not found.degraded
    assert found.passages[0].parts.cosine > 0


async def test_one_that_was_not_downloaded_is_an_error_that_names_the_command(configuration: Path) -> None:
    async with open_backend(Settings.from_file(configuration), store=MemoryStore()) as backend:
        embedder = backend.create_knowledge_base.embedders.get("tiny")

        with pytest.raises(EmbeddingModelMissing, match="llm-backend models pull tiny"):
            await embedder.embed_query("fox")
