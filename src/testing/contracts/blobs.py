"""What every adapter of `Blobs` keeps."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from llm_backend.application.ports.blobs import BlobKey, BlobNotFound, Blobs

KEY = BlobKey("0c6b2c3a-94f4-4f53-8f30-6b8a5bb3b1c7")
OTHER = BlobKey("b2f1c1de-6f0e-4b8e-9d27-0a6f3f6f7a11")


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def broken_off(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    raise ConnectionResetError


async def content_of(blobs: Blobs, key: BlobKey = KEY) -> bytes:
    return b"".join([piece async for piece in blobs.read(key)])


class BlobsContract:
    """Files come back as they were. Needs the fixture `blobs`, empty at the start of each test."""

    @pytest.mark.parametrize(
        "pieces", [[], [b""], [b"hello"], [b"a", b"", b"b"], [bytes(range(256)) * 5000] * 3], ids=len
    )
    async def test_a_file_comes_back_as_it_was(self, blobs: Blobs, pieces: list[bytes]) -> None:
        await blobs.put(KEY, in_pieces(*pieces))

        assert await content_of(blobs) == b"".join(pieces)
        assert list(await blobs.keys()) == [KEY]

    async def test_large_ones_come_in_pieces(self, blobs: Blobs) -> None:
        await blobs.put(KEY, in_pieces(bytes(5 * 1024 * 1024)))

        lengths = [len(piece) async for piece in blobs.read(KEY)]

        assert sum(lengths) == 5 * 1024 * 1024
        assert max(lengths) <= 2 * 1024 * 1024

    async def test_the_last_one_counts(self, blobs: Blobs) -> None:
        await blobs.put(KEY, in_pieces(b"a longer first one"))
        await blobs.put(KEY, in_pieces(b"second"))

        assert await content_of(blobs) == b"second"

    async def test_what_is_not_there_cannot_be_read(self, blobs: Blobs) -> None:
        with pytest.raises(BlobNotFound):
            await content_of(blobs)

    async def test_what_was_deleted_is_gone_and_deleting_it_again_is_no_error(self, blobs: Blobs) -> None:
        await blobs.put(KEY, in_pieces(b"hello"))
        await blobs.put(OTHER, in_pieces(b"other"))

        await blobs.delete([KEY, BlobKey("unknown")])
        await blobs.delete([KEY])
        await blobs.delete([])

        with pytest.raises(BlobNotFound):
            await content_of(blobs)
        assert await content_of(blobs, OTHER) == b"other"
        assert list(await blobs.keys()) == [OTHER]

    async def test_where_nothing_is_kept_there_are_no_keys(self, blobs: Blobs) -> None:
        assert not await blobs.keys()

    async def test_a_file_that_breaks_off_is_not_kept(self, blobs: Blobs) -> None:
        await blobs.put(OTHER, in_pieces(b"before"))

        for key in (KEY, OTHER):
            with pytest.raises(Exception):  # noqa: B017, PT011 - what its source raised, or what the adapter makes of it
                await blobs.put(key, broken_off(b"half"))

        with pytest.raises(BlobNotFound):
            await content_of(blobs)
        assert await content_of(blobs, OTHER) == b"before"

    async def test_many_at_once_all_arrive(self, blobs: Blobs) -> None:
        keys = [BlobKey(f"file-{number}") for number in range(20)]

        await asyncio.gather(*(blobs.put(key, in_pieces(key.encode())) for key in keys))

        assert [await content_of(blobs, key) for key in keys] == [key.encode() for key in keys]
        assert sorted(await blobs.keys()) == sorted(keys)
