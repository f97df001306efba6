"""Bringing the files of a model from a hub into a folder: all of them, or nothing."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx

from llm_backend.domain.errors import DomainError

PIECE = 1024 * 1024
_SHA256 = re.compile("[0-9a-f]{64}")

Tell = Callable[[str, int, int | None], None]  # file, bytes so far, and in all if that is known


class ModelNotPulled(DomainError):
    """The hub is away, does not have the model, or sent something else than it said."""

    code = "model_not_pulled"
    default_message = "The model could not be downloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """Files of a repository on a hub. `sha256` of a file, where it is known beforehand."""

    repository: str
    revision: str = "main"
    model: str = "onnx/model.onnx"
    tokenizer: str = "tokenizer.json"
    others: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.model, self.tokenizer, *self.others)

    def folder(self, models: Path) -> Path:
        """Of these very files: another revision is another folder."""
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", self.repository).strip("-.")[:60]
        told_apart = "\n".join([self.repository, self.revision, *self.names])
        return models / f"{readable}-{hashlib.sha256(told_apart.encode()).hexdigest()[:8]}"


def is_pulled(files: ModelFiles, models: Path) -> bool:
    """The folder gets its name when everything is in it."""
    return files.folder(models).is_dir()


def pull(files: ModelFiles, models: Path, *, hub: str, client: httpx.Client, tell: Tell) -> bool:
    """False when they were there already. Raises `ModelNotPulled` or `OSError`; then nothing is left behind.

    Not for a server: it blocks, for as long as it takes.
    """
    if is_pulled(files, models):
        return False
    models.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = files.folder(models)
    with _unfinished(folder) as unfinished:
        for name in files.names:
            _fetch(f"{hub.rstrip('/')}/{_path(files, name)}", name, files, unfinished / name, client, tell)
        unfinished.rename(folder)
    return True


def _path(files: ModelFiles, name: str) -> str:
    """As all hubs of this kind have it: owner/name/resolve/revision/file."""
    return f"{quote(files.repository)}/resolve/{quote(files.revision, safe='')}/{quote(name)}"


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    place = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fetch(url: str, name: str, files: ModelFiles, to: Path, client: httpx.Client, tell: Tell) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with client.stream("GET", url, follow_redirects=True) as response:
            if response.status_code != 200:
                raise ModelNotPulled(f"The hub answered {response.status_code} to {url}")
            size, digest = _write(response, name, to, tell)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ModelNotPulled(f"The hub could not be reached: {url} ({type(error).__name__})") from error
    _check(name, size, digest, response, files)


def _write(response: httpx.Response, name: str, to: Path, tell: Tell) -> tuple[int, str]:
    total = _announced(response)
    digest, size = hashlib.sha256(), 0
    with to.open("xb") as file:
        for piece in response.iter_bytes(PIECE):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            tell(name, size, total)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _check(name: str, size: int, digest: str, response: httpx.Response, files: ModelFiles) -> None:
    """Against what the configuration says, or else what the hub says of large files, before it redirects."""
    announced = _announced(response)
    if announced is not None and size != announced:
        raise ModelNotPulled(f"{name} is incomplete: {size} of {announced} bytes")
    tags = (one.headers.get("x-linked-etag", "").strip('"') for one in (*response.history, response))
    linked = next((tag for tag in tags if _SHA256.fullmatch(tag)), None)
    expected = files.sha256.get(name) or linked
    if expected is not None and expected.lower() != digest:
        raise ModelNotPulled(f"{name} is not what it should be: its SHA-256 is {digest}, and not {expected}")


def _announced(response: httpx.Response) -> int | None:
    """Of what arrives after decompression, nothing is known."""
    length = response.headers.get("content-length", "")
    return int(length) if length.isdigit() and "content-encoding" not in response.headers else None
