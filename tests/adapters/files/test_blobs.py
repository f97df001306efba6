from pathlib import Path

import pytest

from llm_backend.application.ports.blobs import BlobKey
from llm_backend.domain.errors import BlobsUnavailable
from llm_backend.infrastructure.files.blobs import FolderBlobs
from llm_backend.testing.contracts.blobs import KEY, BlobsContract, content_of, in_pieces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "originals"


@pytest.fixture
def blobs(folder: Path) -> FolderBlobs:
    return FolderBlobs(folder)


class TestFolderBlobs(BlobsContract): ...


def modes(folder: Path) -> list[int]:
    """Of the folder, and of what is in it."""
    return [path.stat().st_mode & 0o777 for path in (folder, *folder.glob("*")) if path.exists()]


async def test_only_their_owner_can_read_them(blobs: FolderBlobs, folder: Path) -> None:
    await blobs.put(KEY, in_pieces(b"hello"))

    assert modes(folder) == [0o700, 0o600]


@pytest.mark.parametrize(
    "key", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\x00b", ".hidden", "a.txt", "键"]
)
async def test_what_is_no_key_of_ours_never_becomes_a_path(blobs: FolderBlobs, folder: Path, key: str) -> None:
    with pytest.raises(ValueError):
        await blobs.put(BlobKey(key), in_pieces(b"hello"))
    with pytest.raises(ValueError):
        await content_of(blobs, BlobKey(key))
    with pytest.raises(ValueError):
        await blobs.delete([BlobKey(key)])

    assert not modes(folder)


async def test_what_a_dead_process_left_behind_is_listed_and_can_be_deleted(blobs: FolderBlobs, folder: Path) -> None:
    await blobs.put(KEY, in_pieces(b"whole"))
    left = BlobKey(f"{KEY}.00ff00ff00ff00ff.part")
    (folder / left).write_bytes(b"ha")

    assert list(await blobs.keys()) == [KEY, left]
    await blobs.delete([left])

    assert await content_of(blobs) == b"whole"
    assert list(await blobs.keys()) == [KEY]


async def test_a_folder_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file")
    blobs = FolderBlobs(tmp_path / "blocked")

    with pytest.raises(BlobsUnavailable):
        await blobs.put(KEY, in_pieces(b"hello"))
    with pytest.raises(BlobsUnavailable):
        await content_of(blobs)
