"""Uploaded files in a folder."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from llm_backend.application.ports.blobs import BlobKey, BlobNotFound
from llm_backend.domain.errors import BlobsUnavailable, StorageFull
from llm_backend.infrastructure.files.folders import make_private

PIECE = 1024 * 1024  # bytes
_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]*(\.[0-9a-f]+\.part)?")


class FolderBlobs:
    """`Blobs` as files of a folder, for their owner alone, under their keys. Made when it is first written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: BlobKey, content: AsyncIterable[bytes]) -> None:
        part = self._path(BlobKey(f"{key}.{token_hex(8)}.part"))
        with _translated():
            try:
                await _put(part, self._path(key), content)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    async def read(self, key: BlobKey) -> AsyncIterator[bytes]:
        path = self._path(key)
        with _translated():
            try:
                file, piece = await asyncio.to_thread(_begun, path)
            except FileNotFoundError as error:
                raise BlobNotFound from error
            with file:
                while piece:
                    yield piece
                    piece = b"" if len(piece) < PIECE else await asyncio.to_thread(file.read, PIECE)

    async def delete(self, keys: Sequence[BlobKey]) -> None:
        with _translated():
            await asyncio.to_thread(_remove, [self._path(key) for key in keys])

    async def keys(self) -> Sequence[BlobKey]:
        with _translated():
            names = await asyncio.to_thread(_names, self._folder)
        return [BlobKey(name) for name in names if _KEY.fullmatch(name)]

    def _path(self, key: BlobKey) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("this is no key of a blob")
        return self._folder / key


async def _put(part: Path, path: Path, content: AsyncIterable[bytes]) -> None:
    """What comes in one piece, as most does, takes one trip to a thread: each costs as much as writing a page."""
    pieces = aiter(content)
    piece, next_piece = await anext(pieces, b""), await anext(pieces, None)
    if next_piece is None:
        await asyncio.to_thread(_put_whole, part, path, piece)
        return
    with await asyncio.to_thread(_created, part) as file:
        await asyncio.to_thread(file.write, piece)
        while next_piece is not None:
            await asyncio.to_thread(file.write, next_piece)
            next_piece = await anext(pieces, None)
        await asyncio.to_thread(_synchronise, file)
    await asyncio.to_thread(_publish, part, path)


def _put_whole(part: Path, path: Path, content: bytes) -> None:
    with _created(part) as file:
        file.write(content)
        _synchronise(file)
    _publish(part, path)


def _created(part: Path) -> BinaryIO:
    make_private(part.parent)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _synchronise(file: BinaryIO) -> None:
    """Until it is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _publish(part: Path, path: Path) -> None:
    """The new name is on the disk as well once the folder is; Windows does not know such a thing, nor needs it."""
    part.replace(path)
    if os.name == "posix":
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _begun(path: Path) -> tuple[BinaryIO, bytes]:
    file = path.open("rb")
    return file, file.read(PIECE)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (StorageFull if full else BlobsUnavailable) from error
