"""Files of a model come from a hub, all of them or none."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from llm_backend.infrastructure.embedding.hub import ModelFiles, ModelNotPulled, is_pulled, pull

CONTENT = {"onnx/model.onnx": b"model" * 1000, "tokenizer.json": b"{}"}
FILES = ModelFiles(repository="owner/name")


class Hub:
    """Answers as hubs of this kind do: small files at once, large ones after a redirect that says what they are."""

    def __init__(self, change: Callable[[httpx.Request], httpx.Response | None] = lambda _: None) -> None:
        self.paths: list[str] = []
        self._change = change

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if (changed := self._change(request)) is not None:
            return changed
        if request.url.path.startswith("/large/"):
            return httpx.Response(200, content=CONTENT[request.url.path.removeprefix("/large/")])
        name = request.url.path.removeprefix("/owner/name/resolve/main/")
        if name not in CONTENT:
            return httpx.Response(404)
        if name.endswith(".onnx"):
            headers = {"location": f"/large/{name}", "x-linked-etag": f'"{sha256(name)}"'}
            return httpx.Response(302, headers=headers)
        return httpx.Response(200, content=CONTENT[name])

    def pull(self, models: Path, files: ModelFiles = FILES) -> bool:
        with httpx.Client(transport=httpx.MockTransport(self)) as client:
            return pull(files, models, hub="https://hub.example/", client=client, tell=lambda *_: None)


def sha256(name: str) -> str:
    return hashlib.sha256(CONTENT[name]).hexdigest()


def test_all_files_are_there_afterwards(tmp_path: Path) -> None:
    hub = Hub()

    assert hub.pull(tmp_path)

    folder = FILES.folder(tmp_path)
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert is_pulled(FILES, tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [folder.name]


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    Hub().pull(tmp_path)
    hub = Hub()

    assert not hub.pull(tmp_path)
    assert not hub.paths


def test_another_revision_is_another_model(tmp_path: Path) -> None:
    Hub().pull(tmp_path)

    assert not is_pulled(ModelFiles(repository="owner/name", revision="v2"), tmp_path)


def _fails(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("away", request=request)


@pytest.mark.parametrize(
    ("change", "files"),
    [
        (lambda _: httpx.Response(503), FILES),
        (_fails, FILES),
        (lambda _: None, ModelFiles(repository="owner/name", tokenizer="missing.json")),
        (lambda _: None, ModelFiles(repository="owner/name", sha256={"tokenizer.json": "0" * 64})),
        (lambda request: httpx.Response(200, content=b"x") if "large" in request.url.path else None, FILES),
    ],
    ids=["busy", "away", "no such file", "another file than is configured", "another file than was announced"],
)
def test_after_a_failure_nothing_is_left(
    tmp_path: Path, change: Callable[[httpx.Request], httpx.Response | None], files: ModelFiles
) -> None:
    with pytest.raises(ModelNotPulled):
        Hub(change).pull(tmp_path, files)

    assert not list(tmp_path.iterdir())
