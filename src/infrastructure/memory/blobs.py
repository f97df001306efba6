"""Uploaded files in memory."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from llm_backend.application.ports.blobs import BlobKey, BlobNotFound

PIECE = 1024 * 1024  # bytes


class MemoryBlobs:
    """`Blobs` in a dictionary, gone with the process."""

    def __init__(self) -> None:
        self._blobs: dict[BlobKey, bytes] = {}

    async def put(self, key: BlobKey, content: AsyncIterable[bytes]) -> None:
        self._blobs[key] = b"".join([piece async for piece in content])

    async def read(self, key: BlobKey) -> AsyncIterator[bytes]:
        if key not in self._blobs:
            raise BlobNotFound
        content = self._blobs[key]
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]

    async def delete(self, keys: Sequence[BlobKey]) -> None:
        for key in keys:
            self._blobs.pop(key, None)

    async def keys(self) -> Sequence[BlobKey]:
        return sorted(self._blobs)
