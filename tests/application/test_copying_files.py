"""Files that wait to be read, brought from one place to another."""

from collections.abc import AsyncIterable, AsyncIterator

import pytest

from llm_backend.application.copying_files import CopyDiffers, CopyFiles
from llm_backend.application.ports.blobs import BlobKey, BlobNotFound
from llm_backend.infrastructure.memory.blobs import MemoryBlobs

LARGE = bytes(range(256)) * 10_000


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def read(blobs: MemoryBlobs, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(BlobKey(key))])


async def some_files() -> MemoryBlobs:
    blobs = MemoryBlobs()
    for key, content in {"a": b"one", "b": LARGE, "c": b"", "d.00ff.part": b"cut off"}.items():
        await blobs.put(BlobKey(key), pieces(content))
    return blobs


class Forgetful(MemoryBlobs):
    """Keeps half of what it is given."""

    async def put(self, key: BlobKey, content: AsyncIterable[bytes]) -> None:
        whole = b"".join([piece async for piece in content])
        await super().put(key, pieces(whole[: len(whole) // 2]))


class Hasty(MemoryBlobs):
    """Lets one go between the list and the look."""

    async def read(self, key: BlobKey) -> AsyncIterator[bytes]:
        if key == "a":
            raise BlobNotFound
        async for piece in super().read(key):
            yield piece


async def test_all_arrive_but_those_that_were_cut_off() -> None:
    target = MemoryBlobs()

    assert await CopyFiles(await some_files(), target)() == 3

    assert [await read(target, key) for key in ("a", "b", "c")] == [b"one", LARGE, b""]
    assert list(await target.keys()) == ["a", "b", "c"]


async def test_a_second_time_changes_nothing() -> None:
    source, target = await some_files(), MemoryBlobs()

    for _ in range(2):
        assert await CopyFiles(source, target)() == 3

    assert list(await target.keys()) == ["a", "b", "c"]


async def test_what_did_not_arrive_whole_is_noticed() -> None:
    with pytest.raises(CopyDiffers):
        await CopyFiles(await some_files(), Forgetful())()


async def test_what_is_let_go_meanwhile_is_left_out() -> None:
    source, target = Hasty(), MemoryBlobs()
    for key in ("a", "b"):
        await source.put(BlobKey(key), pieces(b"one"))

    assert await CopyFiles(source, target)() == 1
