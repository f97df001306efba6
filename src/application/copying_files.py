"""Uploaded files, brought from one place to another."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256

from llm_backend.application.ports.blobs import BlobKey, BlobNotFound, Blobs
from llm_backend.domain.errors import Unavailable


class CopyDiffers(Unavailable):
    """What arrived is not what was sent: a disk or a store is not to be trusted."""

    code = "copy_differs"
    default_message = "A copied file is not what it was"


@dataclass(frozen=True, slots=True)
class CopyFiles:
    """Bring over every file and compare it. May be cut off anywhere and started again."""

    source: Blobs
    target: Blobs

    async def __call__(self) -> int:
        """How many there were. Raises `CopyDiffers`."""
        copied = 0
        for key in await whole_files(self.source):
            try:
                copied += await self._copy(key)
            except BlobNotFound:
                continue  # deleted meanwhile
        return copied

    async def _copy(self, key: BlobKey) -> int:
        sent, arrived = sha256(), sha256()
        await self.target.put(key, _hashed(self.source.read(key), sent.update))
        async for piece in self.target.read(key):
            arrived.update(piece)
        if sent.digest() != arrived.digest():
            raise CopyDiffers
        return 1


async def whole_files(blobs: Blobs) -> list[BlobKey]:
    """All keys but those of what a `put` that was cut off has left."""
    return [key for key in await blobs.keys() if "." not in key]


async def _hashed(pieces: AsyncIterable[bytes], update: Callable[[bytes], object]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        update(piece)
        yield piece
