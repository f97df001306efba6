"""Archives that are looked through as a whole before anything is taken from them.

Members are never unpacked by their names, so that no name can do harm.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from llm_backend.infrastructure.archive.form import FORMAT, LARGEST_MEMBER, MANIFEST, SEAL, ArchiveDamaged, Manifest

_PIECE = 1024 * 1024  # bytes


class Member(NamedTuple):
    """One thing in an archive."""

    name: str
    content: bytes


def checked(path: Path) -> Manifest:
    """What is in it, after every byte was compared. Raises `ArchiveDamaged`, or `OSError` if it cannot be read."""
    found: dict[str, str] = {}
    manifest = seal = None
    for name, content in _all_members(path):
        if name == MANIFEST:
            manifest = content
        elif name == SEAL:
            seal = content.decode("ascii", "replace")
        elif name in found:
            raise ArchiveDamaged
        else:
            found[name] = sha256(content).hexdigest()
    if manifest is None or sha256(manifest).hexdigest() != seal:
        raise ArchiveDamaged
    read = _manifest(manifest)
    if list(read.members.items()) != list(found.items()):
        raise ArchiveDamaged
    return read


def members(path: Path) -> Iterator[Member]:
    """All but the manifest, in their order. Raises `ArchiveDamaged`."""
    return (member for member in _all_members(path) if member.name not in {MANIFEST, SEAL})


def _manifest(content: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (ValueError, RecursionError) as error:
        raise ArchiveDamaged from error
    if manifest.format != FORMAT:
        raise ArchiveDamaged("This archive was made by a newer version of this program")
    return manifest


def _all_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file, _understood(), gzip.GzipFile(fileobj=file, mode="rb") as packed:
        with tarfile.open(fileobj=packed, mode="r|") as archive:
            for member in archive:
                yield Member(member.name, _content(archive, member))
        while packed.read(_PIECE):  # the sum behind the end is only looked at by who comes there
            pass


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isreg() and member.size <= LARGEST_MEMBER else None
    if file is None:
        raise ArchiveDamaged
    content = file.read()
    if len(content) != member.size:
        raise ArchiveDamaged
    return content


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise ArchiveDamaged from error
