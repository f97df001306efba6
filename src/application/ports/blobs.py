"""The files that people upload, kept as they came for as long as their documents are there."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import NewType, Protocol

BlobKey = NewType("BlobKey", str)  # an id of ours: letters, digits and hyphens, never a name that somebody sent


class BlobNotFound(Exception):
    """There is no such file."""


class Blobs(Protocol):
    """Files by key, in a folder or an object store. Every method may raise `Unavailable` or `StorageFull`."""

    async def put(self, key: BlobKey, content: AsyncIterable[bytes]) -> None:
        """Keep it, in place of what had that key. When this returns, it survives a power cut; when it raises, what
        had that key is still there, or nothing."""

    def read(self, key: BlobKey) -> AsyncIterator[bytes]:
        """The content in pieces of about a mebibyte. Raises `BlobNotFound` at the first."""

    async def delete(self, keys: Sequence[BlobKey]) -> None:
        """No error if they are not there."""

    async def keys(self) -> Sequence[BlobKey]:
        """All that is kept, and all that a `put` left behind that was cut off: that can be deleted like the rest,
        once it is old. No times are told with them: clocks jump, and each store has its own."""
