"""Uploaded files on their way between the disk of this process and where they are kept."""

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

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
    with await asyncio.to_thread(file.open, "rb") as stream:
        while piece := await asyncio.to_thread(stream.read, PIECE):
            yield piece


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
    async with AsyncExitStack() as stack:
        with _translated():
            path = await stack.enter_async_context(scratch_file(scratch))
        with _translated(), await asyncio.to_thread(path.open, "wb") as file:
            async for piece in content:
                await asyncio.to_thread(file.write, piece)
        yield path


@asynccontextmanager
async def scratch_file(folder: Path | None) -> AsyncIterator[Path]:
    """An empty file that only we can read, until the end of the block. Raises `OSError`."""
    path = await asyncio.to_thread(_new_file, folder)
    try:
        yield path
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _new_file(folder: Path | None) -> Path:
    handle, name = tempfile.mkstemp(prefix="content-", dir=folder)
    os.close(handle)
    return Path(name)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (StorageFull() if full else Unavailable("Files cannot be written at the moment")) from error
