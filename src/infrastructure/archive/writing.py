"""Archives that appear as a whole or not at all, for their owner alone."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Self

import msgspec

from llm_backend.infrastructure.archive.form import FORMAT, MANIFEST, SEAL, Manifest

# Vectors and most uploads hardly get smaller, however hard one tries; texts do at the first try.
COMPRESSION = 1


class ArchiveWriter:
    """Members in the order in which they are added. Blocks the thread: for commands, which have it to themselves."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, str] = {}

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """It has its name once the block has ended without an error and it is on the disk.

        Raises `FileExistsError` rather than take another's place, and `OSError`.
        """
        if path.exists():
            raise FileExistsError(f"{path} is there already, and is not overwritten")
        draft = path.with_name(f".{path.name}.{token_hex(8)}.part")
        try:
            with _created(draft) as file:
                with (
                    gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=COMPRESSION) as packed,
                    tarfile.open(fileobj=packed, mode="w|") as archive,
                ):
                    yield cls(archive)
                file.flush()
                os.fsync(file.fileno())
            _publish(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def add(self, name: str, content: bytes) -> None:
        assert name not in self._members, "a name stands for one member"
        self._members[name] = sha256(content).hexdigest()
        self._put(name, content)

    def close(self, about: Mapping[str, object]) -> None:
        """The last thing to do: put in what makes it whole."""
        manifest = msgspec.json.encode(Manifest(format=FORMAT, members=self._members, about=about))
        self._put(MANIFEST, manifest)
        self._put(SEAL, sha256(manifest).hexdigest().encode())

    def _put(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o600
        self._archive.addfile(member, io.BytesIO(content))


def _created(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _publish(draft: Path, path: Path) -> None:
    """A link takes nobody's place, as renaming would."""
    try:
        os.link(draft, path)
    except FileExistsError as error:
        raise FileExistsError(f"{path} is there already, and is not overwritten") from error
    except OSError:  # FAT knows no links, nor do many servers of files; each says so with another number
        _publish_without_links(draft, path)
    if os.name == "posix":
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _publish_without_links(draft: Path, path: Path) -> None:
    """For an instant there is an empty file of that name: it is ours, so nothing else is overwritten."""
    try:
        _created(path).close()
    except FileExistsError as error:
        raise FileExistsError(f"{path} is there already, and is not overwritten") from error
    try:
        draft.replace(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
