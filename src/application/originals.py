"""Uploaded files on their way between the disk of this process and where they are kept."""

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from llm_backend.application.ports.blobs import BlobKey, Blobs
from llm_backend.domain.errors import StorageFull, Unavailable
from llm_backend.domain.files import Attachment
from llm_backend.domain.ids import DocumentId, FileId

PIECE = 1024 * 1024  # bytes
_MARK = "file-"  # before the keys of files; those of documents are bare ids


def blob_of(file: FileId) -> BlobKey:
    """Where the content of a file is kept that was uploaded by itself."""
    return BlobKey(_MARK + file)


def content_of(document: DocumentId, attachment: Attachment | None) -> BlobKey:
    """Where the file of a document is kept: by itself, or as its own."""
    return blob_of(attachment.file) if attachment else BlobKey(document)


def file_in(key: BlobKey) -> FileId | None:
    """The file whose content that is; None for the file of a document."""
    return FileId(key.removeprefix(_MARK)) if key.startswith(_MARK) else None


async def pieces(file: Path) -> AsyncIterator[bytes]:
    """The content of a file, a mebibyte at a time."""
    stream, piece = await asyncio.to_thread(_begun, file)
    with stream:
        while piece:
            yield piece
            piece = b"" if len(piece) < PIECE else await asyncio.to_thread(stream.read, PIECE)


def _begun(file: Path) -> tuple[BinaryIO, bytes]:
    """Most files are read with that: a trip to a thread costs more than a page of text does."""
    stream = file.open("rb")
    return stream, stream.read(PIECE)


async def opened(blobs: Blobs, key: BlobKey) -> AsyncIterator[bytes]:
    """The content, of which the first piece has been read: raises `BlobNotFound` and `Unavailable` before there is
    any."""
    content = blobs.read(key)
    return _joined(await anext(content, b""), content)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def fetched(blobs: Blobs, key: BlobKey, scratch: Path | None) -> AbstractAsyncContextManager[Path]:
    """A copy on the disk that only we can read, until the end of the block. Raises `BlobNotFound`, `Unavailable`,
    `StorageFull`."""
    return on_disk(blobs.read(key), scratch)


@asynccontextmanager
async def on_disk(content: AsyncIterable[bytes], scratch: Path | None) -> AsyncIterator[Path]:
    """The same of any content. Raises `Unavailable`, `StorageFull`, and what `content` raises."""
    pieces = aiter(content)
    first = await anext(pieces, b"")
    async with AsyncExitStack() as stack:
        with _translated():
            path = await stack.enter_async_context(scratch_file(scratch, first))
            async for piece in pieces:
                await asyncio.to_thread(_append, path, piece)
        yield path


@asynccontextmanager
async def scratch_file(folder: Path | None, content: bytes = b"") -> AsyncIterator[Path]:
    """A file that only we can read, until the end of the block. Raises `OSError`."""
    path = await asyncio.to_thread(_new_file, folder, content)
    try:
        yield path
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _new_file(folder: Path | None, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix="content-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


def _append(file: Path, piece: bytes) -> None:
    with file.open("ab") as stream:
        stream.write(piece)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (StorageFull() if full else Unavailable("Files cannot be written at the moment")) from error
